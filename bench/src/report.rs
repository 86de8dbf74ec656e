//! Reports: all that one benchmark measured in one run, and what it ran on.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figure::{Curve, Drift, Figure};
use crate::machine::{self, Machine, Versions};
use crate::peer::{LeftOut, Peer};

/// The largest difference between the ratios of the halves of a run that is still reported.
pub const STEADY: f64 = 0.10;
/// The same for values themselves: a virtual machine's speed changes with what its neighbours do, and
/// all peers with it.
pub const QUIET: f64 = 0.25;

/// One benchmark's results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The benchmark's name.
    pub benchmark: String,
    /// The test host that it ran in.
    pub host: String,
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before them.
    pub warm_up: u32,
    /// Whether it only showed that the benchmark works: its times are not judged.
    pub quick: bool,
    /// Whether its peers or their configuration were chosen: it does not take the place of a whole
    /// run.
    pub chosen: bool,
    /// The peers, in the order of the rows.
    pub peers: Vec<Peer>,
    /// Those that were not there, and why.
    pub left_out: Vec<LeftOut>,
    /// What was measured round by round.
    pub figures: Vec<Figure>,
    /// What was measured over something else.
    pub curves: Vec<Curve>,
    /// What a reader has to know of the whole.
    pub notes: Vec<String>,
    /// What it ran on.
    pub machine: Machine,
    /// The versions of what it ran, by name; `trireme` is a commit.
    pub versions: Versions,
    /// The load averages before it.
    pub load_before: [f64; 3],
    /// The load averages behind it.
    pub load_after: [f64; 3],
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    #[serde(skip)]
    clock: Option<Instant>,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The figure's title.
    pub figure: String,
    /// The peer.
    pub peer: String,
    /// How far the halves are apart, as a share of the smaller.
    pub drift: f64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.drift * 100.0;
        write!(f, "{percent:.0} % for {}, {}", self.peer, self.figure)
    }
}

impl Report {
    /// Begins a report, in the host.
    ///
    /// # Errors
    ///
    /// When the machine cannot be described.
    pub fn begin(benchmark: &str) -> Result<Self> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self {
            benchmark: benchmark.to_owned(),
            host: String::new(),
            rounds: 0,
            warm_up: 0,
            quick: false,
            chosen: false,
            peers: Vec::new(),
            left_out: Vec::new(),
            figures: Vec::new(),
            curves: Vec::new(),
            notes: Vec::new(),
            machine: Machine::read()?,
            versions: Versions::new(),
            load_before: machine::load()?,
            load_after: [0.0; 3],
            began,
            seconds: 0.0,
            clock: Some(Instant::now()),
        })
    }

    /// Adds a figure that has all its values.
    pub fn add(&mut self, mut figure: Figure) {
        figure.finish();
        self.figures.push(figure);
    }

    /// Ends the report, in the host.
    ///
    /// # Errors
    ///
    /// When the load cannot be read.
    pub fn end(&mut self) -> Result<()> {
        self.load_after = machine::load()?;
        self.seconds = self
            .clock
            .map_or(0.0, |clock| clock.elapsed().as_secs_f64());
        Ok(())
    }

    /// The name of its file, without an ending.
    pub fn file_stem(&self) -> String {
        let chosen = if self.chosen { "-chosen" } else { "" };
        format!("{}@{}{chosen}", self.benchmark, self.host.replace('@', "-"))
    }

    /// Where the halves of judged figures differ by more than [`STEADY`] or [`QUIET`] and than
    /// chance, the worst first; none in a run that is reported.
    pub fn refusals(&self) -> Vec<Refusal> {
        let judged = self.figures.iter().filter(|figure| figure.judged);
        let mut refusals: Vec<_> = judged
            .flat_map(|figure| {
                let limit = |drift: &Drift<'_>| if drift.of_ratios { STEADY } else { QUIET };
                let drifts = figure
                    .drifts()
                    .filter(move |drift| drift.share > limit(drift).max(drift.chance));
                drifts.map(|drift| Refusal {
                    figure: figure.title.clone(),
                    peer: drift.peer.to_owned(),
                    drift: drift.share,
                })
            })
            .collect();
        refusals.sort_by(|a, b| b.drift.total_cmp(&a.drift));
        refusals
    }

    /// Looks for what a broken benchmark would have left out.
    ///
    /// # Errors
    ///
    /// When there is no figure, or a peer's row, its values or its ratios are missing or no numbers.
    pub fn check(&self) -> Result<()> {
        let name = &self.benchmark;
        ensure!(!self.peers.is_empty(), "{name}: no peers");
        ensure!(
            !self.figures.is_empty() || !self.curves.is_empty(),
            "{name}: nothing was measured"
        );
        for figure in &self.figures {
            self.check_figure(figure)?;
        }
        for peer in &self.peers {
            let rows = self.figures.iter().flat_map(|figure| &figure.rows);
            let lines = self.curves.iter().flat_map(|curve| &curve.lines);
            let mut names = rows
                .map(|row| &row.peer)
                .chain(lines.map(|line| &line.peer));
            ensure!(
                names.any(|name| *name == peer.name),
                "{name}: nothing was measured of {}",
                peer.name
            );
        }
        for curve in &self.curves {
            for line in &curve.lines {
                let sound = line.points.iter().flatten().all(|value| value.is_finite());
                ensure!(
                    sound && !line.points.is_empty(),
                    "{name}, {}: {}: {:?}",
                    curve.id,
                    line.peer,
                    line.points
                );
            }
        }
        Ok(())
    }

    fn check_figure(&self, figure: &Figure) -> Result<()> {
        let place = format!("{}, {}", self.benchmark, figure.id);
        let rows: Vec<_> = figure.rows.iter().map(|row| row.peer.as_str()).collect();
        let peers: Vec<_> = self.peers.iter().map(|peer| peer.name.as_str()).collect();
        ensure!(
            rows.iter().all(|row| peers.contains(row)) && !rows.is_empty(),
            "{place}: rows of {rows:?}, peers are {peers:?}"
        );
        let lengths: BTreeSet<_> = figure.rows.iter().map(|row| row.values.len()).collect();
        ensure!(lengths.len() == 1, "{place}: rows of {lengths:?} values");
        for row in &figure.rows {
            let place = format!("{place}: {}", row.peer);
            let summary = row.summary;
            ensure!(summary.is_some(), "{place}: no values");
            let summary = summary.into_iter().flat_map(|summary| {
                let numbers = [summary.median, summary.p95, summary.p99];
                let others = [summary.cpu_ms, summary.to_null, summary.to_runc];
                numbers.into_iter().chain(others.into_iter().flatten())
            });
            for number in summary {
                ensure!(number.is_finite() && number >= 0.0, "{place}: {number}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::figure::{Line, Unit};
    use crate::peer;

    /// A report of three peers and a hundred rounds, on a quiet machine.
    pub fn sample() -> Report {
        let peers: Vec<_> = peer::all()
            .into_iter()
            .filter(|peer| [peer::NULL, peer::RUNC, "wasmtime/pod"].contains(&peer.name.as_str()))
            .collect();
        let mut figure = Figure::new("start", "Start < end", Unit::Milliseconds, &peers);
        for round in 0..100 {
            for (index, time) in [40.0, 90.0, 45.0].into_iter().enumerate() {
                figure.add_with_cpu(index, time + f64::from(round % 7), time / 2.0);
            }
        }
        let curve = Curve {
            id: "memory".to_owned(),
            title: "Memory".to_owned(),
            x: "containers".to_owned(),
            y: "kB".to_owned(),
            note: String::new(),
            lines: vec![Line {
                peer: peer::RUNC.to_owned(),
                points: vec![[1.0, 10.0], [2.0, 20.0]],
            }],
        };
        let left_out = LeftOut {
            peer: "crun".to_owned(),
            reason: "it is not on PATH".to_owned(),
        };
        let mut report = Report {
            host: "somewhere".to_owned(),
            rounds: 100,
            peers,
            left_out: vec![left_out],
            curves: vec![curve],
            ..Report::begin("sample").unwrap()
        };
        report.add(figure);
        report.end().unwrap();
        report
    }

    #[test]
    fn a_steady_run_is_reported() {
        let report = sample();
        report.check().unwrap();
        assert_eq!(report.refusals(), []);
    }

    #[test]
    fn a_run_whose_halves_differ_is_refused() {
        let mut report = sample();
        for value in &mut report.figures[0].rows[1].values[50..] {
            *value *= 1.2;
        }
        let refusal = report.refusals().remove(0);
        assert_eq!(
            (refusal.peer.as_str(), refusal.figure.as_str()),
            ("runc", "Start < end")
        );
        assert!(refusal.drift > 0.15, "{refusal:?}");
        report.figures[0].judged = false;
        assert_eq!(report.refusals(), []);
    }

    #[test]
    fn a_report_that_lacks_something_is_not_sound() {
        let mut report = sample();
        report.figures[0].rows[0].summary = None;
        assert!(report.check().is_err());
        let mut report = sample();
        report.figures[0].rows[2].peer = "nobody".to_owned();
        assert!(report.check().is_err());
        let mut report = sample();
        report.figures[0].rows.pop();
        assert!(report.check().is_err());
        let mut report = sample();
        report.figures[0].rows[1].values.pop();
        assert!(report.check().is_err());
        let mut report = sample();
        report.curves[0].lines[0].points[0][1] = f64::NAN;
        assert!(report.check().is_err());
        let mut report = sample();
        report.figures.clear();
        report.curves.clear();
        assert!(report.check().is_err());
    }

    #[test]
    fn a_report_is_the_same_when_it_is_read_again() {
        let report = sample();
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
