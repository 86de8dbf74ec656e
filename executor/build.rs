//! Links the program at a fixed address.
//!
//! To relocate it elsewhere the dynamic linker would write to 1.4 MB of tables of the
//! engines, a private copy in every guest that does not come from a zygote. Whatever may
//! differ from build to build still does: the stack, the heap, libraries and guests' code.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
