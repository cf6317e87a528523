//! Makes the program follow the page: when `web/dist` changes, the files are embedded anew.

fn main() {
    const DIST: &str = "../../web/dist";
    // An empty folder, where the page was not built, is one that cargo can watch.
    if let Err(error) = std::fs::create_dir_all(DIST) {
        println!("cargo::warning={DIST} cannot be made: {error}");
    }
    println!("cargo::rerun-if-changed={DIST}");
}
