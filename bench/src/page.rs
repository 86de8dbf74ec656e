//! All reports of a folder as one HTML page, which needs nothing beside itself.

mod markup;
mod plot;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::markup::{check, escape};
use crate::figure::Figure;
use crate::report::Report;
use crate::text;

const STYLE: &str = include_str!("page/style.css");
/// The page's name.
const PAGE: &str = "report.html";

/// Writes `report.html` from the reports in a folder, and returns where it is.
///
/// # Errors
///
/// When the folder cannot be read, or the page is not well formed or cannot be written.
pub fn collect(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let reports: Vec<_> = files.iter().filter_map(|file| read(file)).collect();
    let text = page(&reports);
    check(&text).context("the page is not well formed")?;
    let page = folder.join(PAGE);
    fs::write(&page, text).with_context(|| format!("write {}", page.display()))?;
    Ok(page)
}

/// A report; one of another version of this program is left out, and said to be.
fn read(file: &Path) -> Option<Report> {
    let text = fs::read(file).map_err(|error| error.to_string());
    let report = text.and_then(|text| {
        let report = serde_json::from_slice(&text);
        report.map_err(|error| error.to_string())
    });
    report
        .inspect_err(|error| eprintln!("bench: {} is not on the page: {error}", file.display()))
        .ok()
}

/// The page of these reports.
fn page(reports: &[Report]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <meta name=\"color-scheme\" content=\"light dark\" />\n\
         <title>Trireme and its peers</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Trireme and its peers</h1>\n\
         <p>Every round measures each peer once, in changing order. A ratio is the median of the rounds' own ratios: \
         × null to a shim that does nothing, × runc to a native program under runc. Compare ratios; times are those \
         of one machine.</p>\n<nav>\n<ul>\n"
    );
    for report in reports {
        let (id, title) = (report.file_stem(), title(report));
        // Writing to a String cannot fail.
        let _ = writeln!(
            html,
            "<li><a href=\"#{}\">{}</a></li>",
            escape(&id),
            escape(&title)
        );
    }
    html.push_str("</ul>\n</nav>\n");
    for report in reports {
        section(&mut html, report);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn title(report: &Report) -> String {
    format!("{} on {}", report.benchmark, report.host)
}

fn section(html: &mut String, report: &Report) {
    let id = report.file_stem();
    let _ = writeln!(
        html,
        "<section id=\"{}\">\n<h2>{}</h2>",
        escape(&id),
        escape(&title(report))
    );
    for figure in &report.figures {
        let _ = writeln!(html, "<h3>{}</h3>", escape(&figure.title));
        html.push_str(&plot::distribution(figure));
        table(html, figure);
        if !figure.note.is_empty() {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(&figure.note));
        }
    }
    for curve in &report.curves {
        let _ = writeln!(html, "<h3>{}</h3>", escape(&curve.title));
        html.push_str(&plot::lines(curve));
        if !curve.note.is_empty() {
            let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(&curve.note));
        }
    }
    for note in text::notes(report) {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(&note));
    }
    if !report.left_out.is_empty() {
        html.push_str("<p>Left out:</p>\n<ul>\n");
        for left_out in &report.left_out {
            let (peer, reason) = (escape(&left_out.peer), escape(&left_out.reason));
            let _ = writeln!(html, "<li>{peer}: {reason}</li>");
        }
        html.push_str("</ul>\n");
    }
    circumstances(html, report);
    html.push_str("</section>\n");
}

fn table(html: &mut String, figure: &Figure) {
    html.push_str("<div class=\"wide\">\n<table>\n<thead><tr><th>peer</th>");
    for head in text::heads(figure) {
        let _ = write!(html, "<th>{}</th>", escape(&head));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &figure.rows {
        let _ = write!(html, "<tr><th>{}</th>", escape(&row.peer));
        for cell in text::cells(figure, row) {
            let _ = write!(html, "<td>{}</td>", escape(&cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

/// What it ran on, and what ran.
fn circumstances(html: &mut String, report: &Report) {
    html.push_str("<details>\n<summary>Machine, versions and peers</summary>\n<dl>\n");
    for (name, value) in text::circumstances(report) {
        let _ = writeln!(
            html,
            "<dt>{}</dt><dd>{}</dd>",
            escape(&name),
            escape(&value)
        );
    }
    for peer in &report.peers {
        let words = [std::slice::from_ref(&peer.image), &peer.arguments].concat();
        let by = peer
            .runc_binary
            .as_ref()
            .map(|binary| format!(" by {binary}"));
        let runs = format!(
            "{}{}: {}",
            peer.runtime,
            by.unwrap_or_default(),
            words.join(" ")
        );
        let _ = writeln!(
            html,
            "<dt>{}</dt><dd>{}</dd>",
            escape(&peer.name),
            escape(&runs)
        );
    }
    html.push_str("</dl>\n</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_page_is_well_formed_and_whole() {
        let mut report = sample();
        report.notes.push("a < b & \"c\"".to_owned());
        let html = page(&[report.clone()]);
        check(&html).unwrap();
        assert!(html.contains("a &lt; b &amp; &quot;c&quot;"), "{html}");
        for figure in &report.figures {
            assert!(html.contains(&escape(&figure.title)));
        }
        assert_eq!(
            html.matches("<svg ").count(),
            report.figures.len() + report.curves.len()
        );
        for word in ["http://", "https://", "src=", "@import", "NaN", "<script"] {
            let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
            assert!(!html.contains(word), "{word}");
        }
        assert!(html.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn a_page_is_made_of_all_reports_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for benchmark in ["one", "two"] {
            let mut report = sample();
            benchmark.clone_into(&mut report.benchmark);
            let text = serde_json::to_string(&report).unwrap();
            fs::write(folder.path().join(format!("{benchmark}.json")), text).unwrap();
        }
        let page = fs::read_to_string(collect(folder.path()).unwrap()).unwrap();
        assert!(page.contains("one on") && page.contains("two on"));
        fs::write(folder.path().join("three.json"), "{}").unwrap();
        collect(folder.path()).unwrap();
    }
}
