//! Runs every fuzz body on its corpus: the files `fuzz/corpus/<target>/*` for each target of `fuzz/src/lib.rs`.
//!
//! `fuzz/run` searches for more. A file that it finds belongs into the corpus, under a name that describes the
//! fault; it then fails here until the fault is fixed.

#[path = "../../fuzz/src/lib.rs"]
mod bodies;

use std::fs;
use std::path::Path;

#[test]
fn the_corpora_show_no_fault() {
    for (name, body) in bodies::ALL {
        let folder = Path::new("fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| entry.expect("it can be read").path())
            .collect();
        files.sort();
        assert!(files.len() >= 3, "{}: {} files", folder.display(), files.len());
        for path in files {
            // The test harness shows this if the body panics.
            println!("{}", path.display());
            let bytes = fs::read(&path).expect("it can be read");
            body(&bytes);
            // The first half is another useful input.
            body(&bytes[..bytes.len() / 2]);
        }
    }
}

#[test]
fn every_body_is_a_target_of_its_name() {
    let manifest = fs::read_to_string("fuzz/Cargo.toml").expect("it is there");
    for (name, _) in bodies::ALL {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name}");
        let target =
            fs::read_to_string(format!("fuzz/fuzz_targets/{name}.rs")).expect("it is there");
        assert!(target.contains(&format!("places_herd_fuzz::{name}(data)")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), bodies::ALL.len());
}
