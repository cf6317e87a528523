import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `make dev` serves the page with hot reload and forwards everything else to a running server.
const server = process.env.GOSTREAM_URL ?? "http://localhost:8080";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: { target: "es2022", assetsInlineLimit: 0, sourcemap: false },
  server: { proxy: { "/api": server, "/hls": server } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"] },
});
