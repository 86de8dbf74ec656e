//! `tests/guests/build`: builds the guests and their images and prints the folder they are in.

use anyhow::Result;

fn main() -> Result<()> {
    println!("{}", trireme_tests::guests::build()?.display());
    Ok(())
}
