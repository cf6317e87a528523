//! The clips: a white flash and a beep at the same time every 2 s, so that sync can be measured on any output. FFmpeg
//! makes each clip once; the files are kept in the target directory under a hash of their options.

use std::{
    collections::HashMap,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    clip::tags_with_metadata,
    process::{output, text},
};
use serde_json::Value;

/// The tags of a clip, in order.
pub type Tags = Arc<Vec<Media>>;

/// Noise makes every picture and audio frame unique: messages are identified by their body.
const VIDEO: &str = "color=c=0x303030:s=320x180:r=30:d=%D,\
                     drawbox=w=iw:h=ih:c=white:t=fill:enable='lt(mod(t,2),0.2)',noise=alls=12:allf=t";
const AUDIO: &str = "aevalsrc=exprs='if(lt(mod(t,2),0.2),0.5*sin(2*PI*1000*t),0)+0.002*random(0)|\
                     if(lt(mod(t,2),0.2),0.5*sin(2*PI*1000*t),0)+0.002*random(1)':s=48000:d=%D";

/// Duration of most clips.
const SECONDS: u32 = 20;
/// Duration for cases that need longer, such as a late destination.
const LONG_SECONDS: u32 = 30;

const X264: &str = "-c:v libx264 -threads 1 -pix_fmt yuv420p -sc_threshold 0";
const AAC: &str = "-c:a aac -b:a 96k";

struct Recipe {
    seconds: u32,
    video: &'static str,
    audio: &'static str,
}

/// How a clip is made, in addition to flash and beep.
fn recipe(name: &str) -> Recipe {
    const USUAL: &str = "-preset ultrafast -g 60 -keyint_min 60 -bf 0";
    let (seconds, video, audio) = match name {
        "base" => (LONG_SECONDS, USUAL, AAC),
        "b-frames" => (SECONDS, "-preset veryfast -g 60 -keyint_min 60 -bf 2 -b_strategy 0", AAC),
        "four-slices" => (SECONDS, "-preset ultrafast -g 60 -keyint_min 60 -bf 0 -slices 4", AAC),
        "intra-refresh" => (LONG_SECONDS, "-preset veryfast -g 60 -bf 0 -x264-params intra-refresh=1", AAC),
        "open-gop" => (SECONDS, "-preset veryfast -g 60 -keyint_min 60 -bf 2 -x264-params open-gop=1", AAC),
        // The second keyframe is at 20 s.
        "long-gop" => (LONG_SECONDS, "-preset ultrafast -g 600 -keyint_min 600 -bf 0", AAC),
        // Keyframes every 2 s, then every 6 s.
        "growing-gop" => (LONG_SECONDS, "-preset ultrafast -g 900 -bf 0 -force_key_frames 0,2,4,6,8,14,20,26", AAC),
        "portrait" => (SECONDS, "-vf scale=180:320 -preset ultrafast -g 60 -keyint_min 60 -bf 0", AAC),
        "interlaced" => {
            (SECONDS, "-preset veryfast -g 60 -keyint_min 60 -bf 0 -flags +ilme+ildct -x264-params tff=1", AAC)
        }
        "120-fps" => (SECONDS, "-vf fps=120 -preset ultrafast -g 240 -keyint_min 240 -bf 0", AAC),
        "mono" => (LONG_SECONDS, USUAL, "-c:a aac -b:a 64k -ac 1 -ar 44100"),
        "aac-24-khz" => (SECONDS, USUAL, "-c:a aac -b:a 64k -ar 24000"),
        "5.1-side" => (SECONDS, USUAL, "-af aformat=channel_layouts=5.1(side) -c:a aac -b:a 256k"),
        "5.1" => (SECONDS, USUAL, "-af aformat=channel_layouts=5.1 -c:a aac -b:a 256k"),
        "mp3" => (SECONDS, USUAL, "-c:a libmp3lame -ar 44100 -b:a 96k"),
        "a-law" => (SECONDS, USUAL, "-c:a pcm_alaw -ar 8000 -ac 1"),
        _ => panic!("there is no clip {name}"),
    };
    Recipe { seconds, video, audio }
}

/// The tags of a clip.
pub fn clip(name: &'static str) -> Tags {
    static READ: LazyLock<Mutex<HashMap<&'static str, Tags>>> = LazyLock::new(Mutex::default);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let tags = read.entry(name).or_insert_with(|| {
        let Recipe { seconds, video, audio } = recipe(name);
        let [picture, sound] = [VIDEO, AUDIO].map(|source| source.replace("%D", &seconds.to_string()));
        let mut arguments = vec!["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &picture];
        arguments.extend(["-f", "lavfi", "-i", &sound, "-map", "0:v", "-map", "1:a"]);
        arguments.extend([X264, video, audio].into_iter().flat_map(|options| options.split_whitespace()));
        let path = made(&arguments, "flv");
        Arc::new(tags_with_metadata(&path).expect("FFmpeg wrote it"))
    });
    Arc::clone(tags)
}

/// Runs FFmpeg with these arguments unless the file already exists. Tests in several processes may call this
/// concurrently.
fn made(arguments: &[&str], extension: &str) -> PathBuf {
    // Test and example programs are two folders below the target directory.
    let program = std::env::current_exe().expect("has a path");
    let folder = program.ancestors().nth(3).expect("cargo built it").join("tmp/odd_streams");
    std::fs::create_dir_all(&folder).expect("is made");
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    let path = folder.join(format!("{:016x}.{extension}", hasher.finish()));
    let lock = File::create(path.with_extension("lock")).expect("is made");
    lock.lock().expect("is released eventually");
    if !path.exists() {
        let unfinished = path.with_extension(format!("part.{extension}"));
        output("ffmpeg", &[arguments, &[text(&unfinished)]].concat()).expect("FFmpeg makes it");
        std::fs::rename(unfinished, &path).expect("is renamed");
    }
    path
}

/// One picture of an HEVC stream.
pub struct HevcPicture {
    /// Milliseconds.
    pub decode_ms: u32,
    /// Milliseconds from decoding to presentation.
    pub composition_ms: u32,
    pub keyframe: bool,
    /// Length-prefixed NAL units.
    pub body: Bytes,
}

/// The pictures of the base clip as HEVC Main 10, and the decoder configuration record. FFmpeg 5.1 cannot write HEVC to
/// FLV.
pub fn hevc() -> (Bytes, Vec<HevcPicture>) {
    const X265: &str = "log-level=none:keyint=60:min-keyint=60:scenecut=0:bframes=0:pools=1:frame-threads=1";
    const OPTIONS: &str = "-map 0:v -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -tag:v hvc1";
    let picture = VIDEO.replace("%D", "14");
    let mut arguments = vec!["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-x265-params", X265];
    arguments.extend(OPTIONS.split(' '));
    let path = made(&arguments, "mp4");
    const PROBE: &str = "-v error -of json -select_streams v:0 -show_packets -show_data -show_streams";
    let mut probe: Vec<_> = PROBE.split(' ').collect();
    probe.push(text(&path));
    let found: Value = serde_json::from_str(&output("ffprobe", &probe).expect("reads it")).expect("is JSON");
    let pictures = found["packets"].as_array().expect("is a list").iter().map(|packet| {
        let ms = |field: &str| {
            let seconds: f64 = packet[field].as_str().and_then(|text| text.parse().ok()).expect("has times");
            (seconds * 1_000.0).round() as u32
        };
        HevcPicture {
            decode_ms: ms("dts_time"),
            composition_ms: ms("pts_time") - ms("dts_time"),
            keyframe: packet["flags"].as_str().is_some_and(|flags| flags.contains('K')),
            body: dumped(&packet["data"]),
        }
    });
    (dumped(&found["streams"][0]["extradata"]), pictures.collect())
}

/// The bytes of a dump with lines like `00000000: 0121 0160 ...  .!.``.
fn dumped(dump: &Value) -> Bytes {
    let lines = dump.as_str().expect("is a dump").lines().filter_map(|line| line.split_once(": "));
    let digits: Vec<u8> = lines.flat_map(|(_, line)| line.bytes().take(40).filter(u8::is_ascii_hexdigit)).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("is a number");
    digits.chunks(2).map(byte).collect::<Vec<_>>().into()
}

/// Whether a message is a codec header.
pub fn is_header(media: &Media) -> bool {
    is_video_header(media) || is_audio_header(media)
}

/// Whether a message is an AVC (7) or HEVC (12) sequence header.
pub fn is_video_header(media: &Media) -> bool {
    let body = &media.body;
    let plain = matches!(body.first().map(|first| first & 0x8F), Some(7 | 12)) && body.get(1) == Some(&0);
    let enhanced = body.first().is_some_and(|first| first & 0x8F == 0x80);
    media.kind == MediaKind::Video && (plain || enhanced)
}

/// Whether a message is an AudioSpecificConfig.
pub fn is_audio_header(media: &Media) -> bool {
    let body = &media.body;
    media.kind == MediaKind::Audio && body.first().is_some_and(|first| first >> 4 == 10) && body.get(1) == Some(&0)
}
