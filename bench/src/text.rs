//! A report as text, for a terminal.

use std::fmt::Write as _;

use crate::figure::{Curve, Figure, ROUNDS_FOR_HALVES, ROUNDS_FOR_P99, Row};
use crate::report::{Report, STEADY};

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut text = format!("{} on {}\n", report.benchmark, report.host);
    // Writing to a String cannot fail.
    for (name, value) in circumstances(report) {
        let _ = writeln!(text, "{name}: {value}");
    }
    for figure in &report.figures {
        text.push('\n');
        text.push_str(&table(figure));
    }
    for curve in &report.curves {
        text.push('\n');
        text.push_str(&points(curve));
    }
    for left_out in &report.left_out {
        let _ = writeln!(text, "\nleft out: {}: {}", left_out.peer, left_out.reason);
    }
    for note in notes(report) {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}

/// What it ran on and how, as names and values.
pub fn circumstances(report: &Report) -> Vec<(String, String)> {
    let machine = &report.machine;
    let load = |load: [f64; 3]| load.map(|value| format!("{value:.2}")).join(" ");
    let versions: Vec<_> = report
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let lines = [
        (
            "rounds",
            format!(
                "{} after {} that do not count, in {:.0} s",
                report.rounds, report.warm_up, report.seconds
            ),
        ),
        ("versions", versions.join(", ")),
        (
            "machine",
            format!(
                "{} cores ({}), {} MiB, kernel {}, cgroups {}",
                machine.cores,
                machine.processor,
                machine.memory_kb / 1024,
                machine.kernel,
                machine.cgroups
            ),
        ),
        ("system", machine.system.clone()),
        (
            "load",
            format!(
                "{} before, {} behind",
                load(report.load_before),
                load(report.load_after)
            ),
        ),
    ];
    lines.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What a reader has to know of the whole, the report's own words first.
pub fn notes(report: &Report) -> Vec<String> {
    let mut notes = report.notes.clone();
    if report.quick {
        notes.push(
            "a quick run: it shows that the benchmark works; its times say nothing".to_owned(),
        );
    }
    for drift in report.figures.iter().flat_map(Figure::drifts) {
        if !report.quick && !drift.of_ratios && drift.share > STEADY {
            notes.push(format!(
                "{} itself differs by {:.0} % between the halves: the machine's speed changed; ratios are taken \
                 within rounds",
                drift.peer,
                drift.share * 100.0
            ));
        }
    }
    let loose = report.figures.iter().flat_map(Figure::drifts);
    for drift in loose.filter(|drift| drift.of_ratios && drift.share > STEADY) {
        if !report.quick {
            notes.push(format!(
                "the halves differ by {:.0} % for {}, which so few rounds may do by chance",
                drift.share * 100.0,
                drift.peer
            ));
        }
    }
    let is_short = |figure: &Figure| {
        figure
            .rows
            .iter()
            .any(|row| row.values.len() < ROUNDS_FOR_HALVES)
    };
    if !report.quick && report.figures.iter().any(is_short) {
        notes.push(format!(
            "halves of fewer than {ROUNDS_FOR_HALVES} rounds are not compared: nothing shows whether the machine was quiet"
        ));
    }
    let few = |figure: &Figure| {
        figure
            .rows
            .iter()
            .any(|row| row.values.len() < ROUNDS_FOR_P99)
    };
    if report.figures.iter().any(few) {
        notes.push(format!(
            "p99 of fewer than {ROUNDS_FOR_P99} rounds is rough; with fewer than 100 it is hardly more than the \
             largest value"
        ));
    }
    notes
}

/// The heads of the columns behind the peer's name.
pub fn heads(figure: &Figure) -> Vec<String> {
    let unit = figure.unit.symbol();
    let quantity = |name: &str| format!("{name} {unit}").trim_end().to_owned();
    let mut heads = vec![
        "rounds".to_owned(),
        quantity("median"),
        quantity(if figure.unit.more_is_better() {
            "p5"
        } else {
            "p95"
        }),
        quantity(if figure.unit.more_is_better() {
            "p1"
        } else {
            "p99"
        }),
    ];
    if has_cpu(figure) {
        heads.push("CPU ms".to_owned());
    }
    heads.extend(["× null".to_owned(), "× runc".to_owned()]);
    heads
}

/// The cells under them.
pub fn cells(figure: &Figure, row: &Row) -> Vec<String> {
    let Some(summary) = row.summary else {
        return vec!["-".to_owned(); heads(figure).len()];
    };
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut cells = vec![
        summary.rounds.to_string(),
        format!("{:.1}", summary.median),
        format!("{:.1}", summary.p95),
        format!("{:.1}", summary.p99),
    ];
    if has_cpu(figure) {
        cells.push(optional(summary.cpu_ms, 1));
    }
    cells.extend([optional(summary.to_null, 2), optional(summary.to_runc, 2)]);
    cells
}

fn has_cpu(figure: &Figure) -> bool {
    figure.rows.iter().any(|row| !row.cpu_ms.is_empty())
}

fn table(figure: &Figure) -> String {
    let names = figure.rows.iter().map(|row| row.peer.chars().count());
    let width = names.max().unwrap_or(0).max(12);
    let mut text = format!("{}\n", figure.title);
    let mut line = |name: &str, cells: &[String]| {
        let _ = write!(text, "{name:<width$}");
        for cell in cells {
            let _ = write!(text, " {cell:>14}");
        }
        text.push('\n');
    };
    line("peer", &heads(figure));
    for row in &figure.rows {
        line(&row.peer, &cells(figure, row));
    }
    text
}

fn points(curve: &Curve) -> String {
    let mut text = format!("{}: {} over {}\n", curve.title, curve.y, curve.x);
    for line in &curve.lines {
        let _ = write!(text, "{:<16}", line.peer);
        for [x, y] in &line.points {
            let _ = write!(text, " {x}: {y:.1}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn every_row_and_what_is_left_out_is_told() {
        let report = sample();
        let text = super::report(&report);
        for peer in &report.peers {
            assert!(text.contains(&format!("\n{} ", peer.name)), "{text}");
        }
        assert!(text.contains("left out: crun: it is not on PATH"), "{text}");
        assert!(text.contains("p99 of fewer than 300 rounds"), "{text}");
    }
}
