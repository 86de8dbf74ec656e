//! Which of an image's modules a container's command names.

use super::document::Descriptor;

/// What a command names.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This module.
    Module(&'a Descriptor),
    /// The image has no modules.
    NoModules,
    /// None of the modules has that name, or several have it, or it names all
    /// of them.
    Unclear {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// The module that the path of an entry point names: by its title; by `/` where
/// there is one alone; and by any name where there is one alone without a
/// title.
pub fn choose<'a>(modules: &'a [Descriptor], path: &str) -> Choice<'a> {
    let name = plain(path);
    match modules {
        [] => Choice::NoModules,
        [one] if name.is_empty() || one.title.is_none() => Choice::Module(one),
        _ if name.is_empty() => unclear(format!(
            "the image holds {} modules; let the command name one of {}",
            modules.len(),
            titles(modules)
        )),
        _ => by_title(modules, name, path),
    }
}

fn by_title<'a>(modules: &'a [Descriptor], name: &str, path: &str) -> Choice<'a> {
    let mut named = modules
        .iter()
        .filter(|module| module.title.as_deref().map(plain) == Some(name));
    match (named.next(), named.next()) {
        (Some(one), None) => Choice::Module(one),
        (Some(_), Some(_)) => unclear(format!(
            "several modules of the image are called {path:?}; give each a title of its own"
        )),
        (None, _) => unclear(format!(
            "no module of the image is called {path:?}; let the command name one of {}{}",
            titles(modules),
            if modules.len() == 1 {
                ", or \"/\" for the only one"
            } else {
                ""
            }
        )),
    }
}

fn unclear<'a>(reason: String) -> Choice<'a> {
    Choice::Unclear { reason }
}

/// A path as titles are written, relative to the root.
fn plain(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    path.strip_prefix("./").unwrap_or(path)
}

/// The first titles, as text that holds no control characters and no line of
/// any length.
fn titles(modules: &[Descriptor]) -> String {
    const SHOWN: usize = 8;
    const LENGTH: usize = 64;
    let mut titles: Vec<String> = modules
        .iter()
        .take(SHOWN)
        .map(|module| match &module.title {
            Some(title) => format!("{:?}", title.chars().take(LENGTH).collect::<String>()),
            None => "(one without a title)".to_owned(),
        })
        .collect();
    if modules.len() > SHOWN {
        titles.push(format!("{} more", modules.len() - SHOWN));
    }
    titles.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(titles: &[Option<&str>]) -> Vec<Descriptor> {
        let module = |(at, title): (usize, &Option<&str>)| Descriptor {
            media_type: "application/wasm".into(),
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            size: at as u64,
            title: title.map(str::to_owned),
            platform: None,
        };
        titles.iter().enumerate().map(module).collect()
    }

    fn chosen(titles: &[Option<&str>], path: &str) -> Result<u64, String> {
        match choose(&modules(titles), path) {
            Choice::Module(module) => Ok(module.size),
            Choice::NoModules => Err("none".into()),
            Choice::Unclear { reason } => Err(reason),
        }
    }

    #[test]
    fn the_only_module_is_found() {
        for path in ["/", "/hello.wasm", "hello.wasm", "./hello.wasm"] {
            assert_eq!(chosen(&[Some("hello.wasm")], path), Ok(0), "{path}");
            assert_eq!(chosen(&[None], path), Ok(0), "{path}");
        }
        assert_eq!(chosen(&[None], "anything"), Ok(0));
        assert_eq!(chosen(&[Some("./dir/a.wasm")], "/dir/a.wasm"), Ok(0));
    }

    #[test]
    fn one_of_several_is_named_by_its_title() {
        let titles = [Some("a.wasm"), None, Some("../../b.wasm"), Some("a b\n")];
        assert_eq!(chosen(&titles, "a.wasm"), Ok(0));
        assert_eq!(chosen(&titles, "/../../b.wasm"), Ok(2));
        let all = chosen(&titles, "/").unwrap_err();
        assert_eq!(
            all,
            "the image holds 4 modules; let the command name one of \"a.wasm\", (one without a \
             title), \"../../b.wasm\", \"a b\\n\""
        );
        assert!(chosen(&titles, "c.wasm").unwrap_err().contains("no module"));
        let twice = chosen(&[Some("a"), Some("/a")], "a").unwrap_err();
        assert!(twice.contains("several modules"), "{twice}");
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = chosen(&[Some("a.wasm")], "b.wasm").unwrap_err();
        assert!(
            error.ends_with("\"a.wasm\", or \"/\" for the only one"),
            "{error}"
        );
        let many: Vec<_> = (0..1000).map(|_| Some("x")).collect();
        assert!(chosen(&many, "/").unwrap_err().ends_with("992 more"));
        assert_eq!(chosen(&[], "/"), Err("none".into()));
    }
}
