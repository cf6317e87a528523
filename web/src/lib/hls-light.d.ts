// The light build (no DRM, subtitles or alternate audio) has the same interface as the full one.
declare module "hls.js/light" {
  export { default } from "hls.js";
}
