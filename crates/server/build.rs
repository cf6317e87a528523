//! Rebuilds the program when `web/dist` changes, because it embeds these files.

fn main() {
    const DIST: &str = "../../web/dist";
    // Without a built page the folder is missing; cargo can only watch an existing one.
    if let Err(error) = std::fs::create_dir_all(DIST) {
        println!("cargo::warning={DIST} cannot be made: {error}");
    }
    println!("cargo::rerun-if-changed={DIST}");
}
