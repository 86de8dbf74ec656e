//! Text for HTML, and whether HTML is well formed.

use anyhow::{Context, Result, bail, ensure};

/// Text as it stands between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Looks whether every tag is closed in its order, and every `&` begins one of the entities that
/// [`escape`] writes.
///
/// # Errors
///
/// When that is not so.
pub fn check(html: &str) -> Result<()> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some((text, behind)) = rest.split_once('<') {
        check_text(text)?;
        let (tag, behind) = behind.split_once('>').context("a tag has no end")?;
        rest = behind;
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            let last = open.pop();
            ensure!(last == Some(name), "{name} is closed, and open is {last:?}");
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            ensure!(!name.is_empty(), "a tag without a name: <{tag}>");
            open.push(name);
        }
    }
    check_text(rest)?;
    ensure!(open.is_empty(), "not closed: {open:?}");
    Ok(())
}

fn check_text(text: &str) -> Result<()> {
    ensure!(!text.contains('>'), "a `>` in text: {text}");
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
        if !known.iter().any(|entity| text[at..].starts_with(entity)) {
            bail!("an `&` in text: {text}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_seen() {
        assert!(check("<!doctype html><p>a &amp; b<br /></p>").is_ok());
        for damaged in ["<p>", "<p></b>", "</p>", "<p>a & b</p>", "a > b", "<p"] {
            assert!(check(damaged).is_err(), "{damaged}");
        }
        assert!(check(&format!("<p>{}</p>", escape("<&>\""))).is_ok());
    }
}
