//! The files that `docs/plugins.md` shows are those of the repository; its
//! commands are run by `tests/docs`.

use std::path::Path;

#[test]
fn the_files_of_the_page_are_what_it_shows() {
    // Not where it was built: that may be another checkout, with the same target folder.
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs it");
    let root = Path::new(&package).join("../..");
    let page = std::fs::read_to_string(root.join("docs/plugins.md")).expect("the page");
    let mut shown = 0;
    for block in page.split("```rust\n// ").skip(1) {
        let (path, rest) = block.split_once('\n').expect("a path");
        let (text, _) = rest.split_once("```").expect("an end");
        let file = std::fs::read_to_string(root.join(path)).expect(path);
        assert_eq!(text, file, "{path}");
        shown += 1;
    }
    assert_eq!(shown, 2);
}
