//! Figures: one quantity, measured for every peer, round after round.

use serde::{Deserialize, Serialize};

use crate::peer::{NULL, Peer, RUNC};
use crate::stats::{chance, drift, median, quantile, ratio, ratios};

/// The fewest rounds that a 99th percentile says something of.
pub const ROUNDS_FOR_P99: usize = 300;

/// The fewest rounds whose halves are compared.
pub const ROUNDS_FOR_HALVES: usize = 8;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Wall-clock time in milliseconds.
    Milliseconds,
    /// Tasks that were started and ended, per second.
    TasksPerSecond,
    /// Memory in kB of 1024 bytes.
    Kilobytes,
    /// A part of something else.
    Percent,
    /// A plain number.
    Count,
}

impl Unit {
    /// As it stands in a table's head.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::TasksPerSecond => "tasks/s",
            Self::Kilobytes => "kB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        self == Self::TasksPerSecond
    }
}

/// One quantity of every peer.
///
/// Values are added round by round and every peer has the same number of them in the end, so that
/// ratios can be taken within a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// A short name for programs, unique in a report: letters, digits and `-`.
    pub id: String,
    /// What was measured, as a heading.
    pub title: String,
    /// What is counted.
    pub unit: Unit,
    /// From where to where it is measured, and what is in it; may be empty.
    pub note: String,
    /// Whether the report is refused when the halves of its values differ too much.
    pub judged: bool,
    /// One row for each peer, in the order of the peers.
    pub rows: Vec<Row>,
}

/// What was measured of one peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The peer's name.
    pub peer: String,
    /// One value for each round that counts, in the figure's unit.
    pub values: Vec<f64>,
    /// Processor time in milliseconds beside each value; empty where it was not measured.
    pub cpu_ms: Vec<f64>,
    /// The summary; there once the figure is finished.
    pub summary: Option<Summary>,
}

/// A row in a few numbers, in the figure's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many rounds count.
    pub rounds: usize,
    /// The middle value.
    pub median: f64,
    /// 19 of 20 values are as good or better.
    pub p95: f64,
    /// 99 of 100 values are; rough with fewer rounds than [`ROUNDS_FOR_P99`].
    pub p99: f64,
    /// The median of the processor time in milliseconds.
    pub cpu_ms: Option<f64>,
    /// The median of the rounds' ratios to the null shim, where it was measured.
    pub to_null: Option<f64>,
    /// The same to runc.
    pub to_runc: Option<f64>,
}

impl Figure {
    /// An empty figure of these peers, whose halves are judged.
    pub fn new(id: &str, title: &str, unit: Unit, peers: &[Peer]) -> Self {
        let row = |peer: &Peer| Row {
            peer: peer.name.clone(),
            values: Vec::new(),
            cpu_ms: Vec::new(),
            summary: None,
        };
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            note: String::new(),
            judged: true,
            rows: peers.iter().map(row).collect(),
        }
    }

    /// With a note.
    pub fn note(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }

    /// One whose halves may differ, since a run is too short for them or time is not what it counts.
    pub fn unjudged(mut self) -> Self {
        self.judged = false;
        self
    }

    /// Adds the value of a round for the peer with this index.
    pub fn add(&mut self, peer: usize, value: f64) {
        self.rows[peer].values.push(value);
    }

    /// Adds the same with the processor time beside it, in milliseconds.
    pub fn add_with_cpu(&mut self, peer: usize, value: f64, cpu_ms: f64) {
        self.add(peer, value);
        self.rows[peer].cpu_ms.push(cpu_ms);
    }

    /// Computes the summaries. Peers of which nothing was measured have no row.
    pub fn finish(&mut self) {
        self.rows.retain(|row| !row.values.is_empty());
        let of = |name: &str| {
            let row = self.rows.iter().find(|row| row.peer == name)?;
            Some(row.values.clone())
        };
        let (null, runc) = (of(NULL), of(RUNC));
        let more_is_better = self.unit.more_is_better();
        for row in &mut self.rows {
            let values = &row.values;
            let to = |other: &Option<Vec<f64>>| other.as_ref().map(|other| ratio(values, other));
            let tail =
                |share: f64| quantile(values, if more_is_better { 1.0 - share } else { share });
            row.summary = Some(Summary {
                rounds: values.len(),
                median: median(values),
                p95: tail(0.95),
                p99: tail(0.99),
                cpu_ms: (!row.cpu_ms.is_empty()).then(|| median(&row.cpu_ms)),
                to_null: to(&null),
                to_runc: to(&runc),
            });
        }
    }

    /// How far the halves of each peer's ratios to the null shim are apart, as a share of the
    /// smaller; where that was not measured, to runc. It is values and not ratios that are compared
    /// of that peer itself, and of all where there is none.
    pub fn drifts(&self) -> impl Iterator<Item = Drift<'_>> {
        let of = |name: &str| self.rows.iter().find(|row| row.peer == name);
        let base = of(NULL).or_else(|| of(RUNC));
        let rows = self
            .rows
            .iter()
            .filter(|row| row.values.len() >= ROUNDS_FOR_HALVES);
        rows.map(move |row| {
            let base = base.filter(|base| base.peer != row.peer);
            let compared = match base {
                Some(base) => ratios(&row.values, &base.values),
                None => row.values.clone(),
            };
            Drift {
                peer: &row.peer,
                of_ratios: base.is_some() || self.unit == Unit::Percent,
                share: drift(&compared),
                chance: chance(&compared),
            }
        })
    }
}

/// How the halves of a peer's rounds differ.
#[derive(Debug, Clone, Copy)]
pub struct Drift<'a> {
    /// The peer.
    pub peer: &'a str,
    /// Whether it is that of ratios, which a machine that changes its speed leaves alone.
    pub of_ratios: bool,
    /// The difference as a share of the smaller.
    pub share: f64,
    /// How much of it may be chance, as few rounds are.
    pub chance: f64,
}

/// A quantity that depends on another, for each peer: memory over the number of containers, say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Curve {
    /// A short name for programs, unique in a report: letters, digits and `-`.
    pub id: String,
    /// What was measured, as a heading.
    pub title: String,
    /// What the horizontal axis says, with its unit.
    pub x: String,
    /// What the vertical axis says, with its unit.
    pub y: String,
    /// What is in it; may be empty.
    pub note: String,
    /// One line for each peer.
    pub lines: Vec<Line>,
}

/// One peer's part of a curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The peer's name.
    pub peer: String,
    /// Pairs of x and y, in the order of x.
    pub points: Vec<[f64; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(names: &[&str]) -> Vec<Peer> {
        names
            .iter()
            .map(|name| format!("{name}=io.containerd.x.v1").parse().unwrap())
            .collect()
    }

    #[test]
    fn ratios_are_those_to_null_and_to_runc() {
        let peers = peers(&[NULL, RUNC, "mine"]);
        let mut figure = Figure::new("start", "Start", Unit::Milliseconds, &peers);
        for round in [1.0, 10.0] {
            for (index, times) in [1.0, 4.0, 2.0].into_iter().enumerate() {
                figure.add_with_cpu(index, times * round, 3.0);
            }
        }
        figure.finish();
        let mine = figure.rows[2].summary.unwrap();
        assert_eq!((mine.to_null, mine.to_runc), (Some(2.0), Some(0.5)));
        assert_eq!((mine.rounds, mine.cpu_ms), (2, Some(3.0)));
    }

    #[test]
    fn a_ratio_without_its_peer_is_left_out() {
        let mut figure = Figure::new("start", "Start", Unit::Milliseconds, &peers(&["mine"]));
        figure.add(0, 1.0);
        figure.finish();
        assert!(figure.rows[0].summary.unwrap().to_null.is_none());
    }

    #[test]
    fn the_tail_is_that_of_the_worse_rounds() {
        let tail = |unit| {
            let mut figure = Figure::new("start", "Start", unit, &peers(&["mine"]));
            (0..=100).for_each(|value| figure.add(0, f64::from(value)));
            figure.finish();
            figure.rows[0].summary.unwrap().p95.round()
        };
        assert_eq!(tail(Unit::Milliseconds), 95.0);
        assert_eq!(tail(Unit::TasksPerSecond), 5.0);
    }

    #[test]
    fn a_machine_that_changes_its_speed_leaves_ratios_alone() {
        let mut figure = Figure::new(
            "start",
            "Start",
            Unit::Milliseconds,
            &peers(&[NULL, "a", "b"]),
        );
        for (speed, of_b) in [[(1.0, 3.0); 4], [(1.2, 4.0); 4]].concat() {
            figure.add(0, speed);
            figure.add(1, 2.0 * speed);
            figure.add(2, of_b * speed);
        }
        let shares: Vec<_> = figure.drifts().map(|drift| drift.share).collect();
        assert!(
            shares[0] > 0.19 && shares[1] < 0.01 && shares[2] > 0.3,
            "{shares:?}"
        );
        assert!(!figure.drifts().next().unwrap().of_ratios);
    }
}
