//! Readings of memory as figures and curves.

use anyhow::{Context, Result, ensure};

use crate::figure::{Curve, Figure, Line, Unit};
use crate::memory::Reading;
use crate::peer::{NULL, Peer};
use crate::report::Report;
use crate::stats::median;

/// Between these two numbers of containers the memory of one more is measured, where both are
/// counted: few have what all share, and many are what a node is for.
const SPAN: [usize; 2] = [20, 200];

/// A quantity that is told for each further container.
struct Quantity {
    id: &'static str,
    title: &'static str,
    unit: Unit,
    note: &'static str,
    of: fn(&Reading) -> f64,
}

const QUANTITIES: [Quantity; 7] = [
    Quantity {
        id: "taken",
        title: "Memory taken from the system but by containerd",
        unit: Unit::Kilobytes,
        note: "MemAvailable and the free pages of each processor, without caches, less the growth of containerd's \
               own pages, which comes and goes with its garbage collection",
        of: |reading| -reading.available - reading.containerd.pss,
    },
    Quantity {
        id: "pss",
        title: "Proportional set sizes of its processes",
        unit: Unit::Kilobytes,
        note: "shims, their helpers, and what runs in containers",
        of: Reading::pss,
    },
    Quantity {
        id: "shims",
        title: "Of these, shims outside containers",
        unit: Unit::Kilobytes,
        note: "",
        of: |reading| reading.shims.pss,
    },
    Quantity {
        id: "guests",
        title: "Of these, processes in containers",
        unit: Unit::Kilobytes,
        note: "",
        of: |reading| reading.guests.pss,
    },
    Quantity {
        id: "kernel",
        title: "The kernel's own",
        unit: Unit::Kilobytes,
        note: "slab, page tables, kernel stacks and per-CPU data",
        of: |reading| reading.kernel,
    },
    Quantity {
        id: "processes",
        title: "Processes",
        unit: Unit::Count,
        note: "",
        of: Reading::processes,
    },
    Quantity {
        id: "threads",
        title: "Threads",
        unit: Unit::Count,
        note: "",
        of: Reading::threads,
    },
];

/// What is drawn over the number of containers, as the difference to none of them.
const TOTALS: [Quantity; 3] = [
    Quantity {
        id: "taken-in-all",
        title: "Memory taken from the system, containerd's share included",
        unit: Unit::Kilobytes,
        note: "MemAvailable and the free pages of each processor, without caches",
        of: |reading| -reading.available,
    },
    Quantity {
        id: "pss-in-all",
        title: "Proportional set sizes of a peer's processes",
        unit: Unit::Kilobytes,
        note: "",
        of: Reading::pss,
    },
    Quantity {
        id: "containerd-in-all",
        title: "Proportional set size of containerd",
        unit: Unit::Kilobytes,
        note: "it may shrink, for it is collected",
        of: |reading| reading.containerd.pss,
    },
];

/// The readings as they will be reported.
pub struct Tables {
    what: &'static str,
    counts: Vec<usize>,
    span: [usize; 2],
    figures: Vec<Figure>,
    /// By total and peer: the readings of each round.
    totals: Vec<Vec<Vec<Vec<f64>>>>,
}

impl Tables {
    /// Empty ones of these peers, for containers or pods, at these numbers of containers, the first of which is 0.
    ///
    /// # Errors
    ///
    /// When there are too few numbers.
    pub fn of(what: &'static str, peers: &[Peer], counts: &[usize]) -> Result<Self> {
        let span = span(counts).context("--counts: it takes two numbers to compare")?;
        ensure!(counts.first() == Some(&0), "the first count is not 0");
        let [from, to] = span.map(|index| counts[index]);
        let figure = |quantity: &Quantity| {
            let note = format!("{}; from {from} to {to} {what}s", quantity.note);
            let title = format!("{}, for each further {what}", quantity.title);
            Figure::new(quantity.id, &title, quantity.unit, peers)
                .note(note.trim_start_matches("; "))
                .unjudged()
        };
        Ok(Self {
            what,
            counts: counts.to_vec(),
            span,
            figures: QUANTITIES.iter().map(figure).collect(),
            totals: vec![vec![Vec::new(); peers.len()]; TOTALS.len()],
        })
    }

    /// Adds the readings of a round, one for each number.
    pub fn add(&mut self, peer: usize, readings: &[Reading]) {
        let [from, to] = self.span;
        let more = (self.counts[to] - self.counts[from]) as f64;
        for (figure, quantity) in self.figures.iter_mut().zip(&QUANTITIES) {
            let each = ((quantity.of)(&readings[to]) - (quantity.of)(&readings[from])) / more;
            // What shares the more, the more there are, may get smaller by a page.
            figure.add(peer, each.max(0.0));
        }
        for (total, quantity) in self.totals.iter_mut().zip(&TOTALS) {
            let none = (quantity.of)(&readings[0]);
            let values = readings.iter().map(|reading| (quantity.of)(reading) - none);
            total[peer].push(values.collect());
        }
    }

    /// Puts all of them into a report.
    pub fn report(self, peers: &[Peer], report: &mut Report) {
        let null = peers.iter().position(|peer| peer.name == NULL);
        if let Some(null) = null {
            let values = &self.figures[0].rows[null].values;
            if !values.is_empty() {
                report.notes.push(format!(
                    "{:.0} kB of each further {} are nobody's choice: containerd's null shim takes them, idle \
                     processes of its own among them",
                    median(values),
                    self.what
                ));
            }
        }
        for figure in self.figures {
            report.add(figure);
        }
        for (rounds, quantity) in self.totals.iter().zip(&TOTALS) {
            let line = |(peer, rounds): (&Peer, &Vec<Vec<f64>>)| Line {
                peer: peer.name.clone(),
                points: points(&self.counts, rounds),
            };
            report.curves.push(Curve {
                id: quantity.id.to_owned(),
                title: quantity.title.to_owned(),
                x: format!("{}s", self.what),
                y: "kB".to_owned(),
                note: quantity.note.to_owned(),
                lines: peers.iter().zip(rounds).map(line).collect(),
            });
        }
    }
}

/// The middle of all rounds at each number of containers but 0.
fn points(counts: &[usize], rounds: &[Vec<f64>]) -> Vec<[f64; 2]> {
    let at = |index: usize| rounds.iter().map(|round| round[index]).collect::<Vec<_>>();
    let point = |(index, count): (usize, &usize)| [*count as f64, median(&at(index))];
    counts.iter().enumerate().skip(1).map(point).collect()
}

/// The indices of the numbers that [`SPAN`] asks for, or of those next to them.
fn span(counts: &[usize]) -> Option<[usize; 2]> {
    let last = counts.len().checked_sub(1)?;
    let to = counts.iter().rposition(|count| *count <= SPAN[1])?;
    let to = if to == 0 { last } else { to };
    let from = counts[..to].iter().rposition(|count| *count <= SPAN[0])?;
    Some([from, to])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;

    #[test]
    fn one_more_is_measured_between_20_and_200() {
        let of = |counts: &[usize]| span(counts).map(|span| span.map(|index| counts[index]));
        assert_eq!(of(&[0, 1, 10, 20, 50, 200, 500]), Some([20, 200]));
        assert_eq!(of(&[0, 1, 5]), Some([1, 5]));
        assert_eq!(of(&[0, 500]), Some([0, 500]));
        assert_eq!(of(&[0]), None);
    }

    #[test]
    fn the_slope_and_the_totals_are_those_of_the_readings() {
        let peers = peer::all();
        let mut tables = Tables::of("container", &peers, &[0, 20, 120]).unwrap();
        let reading = |available: f64, containerd: f64| {
            let mut reading = Reading {
                available,
                ..Reading::default()
            };
            reading.containerd.pss = containerd;
            reading
        };
        tables.add(
            0,
            &[
                reading(1e6, 100.0),
                reading(9e5, 200.0),
                reading(8e5, 1200.0),
            ],
        );
        assert_eq!(tables.figures[0].rows[0].values, [990.0]);
        let points = points(&tables.counts, &tables.totals[0][0]);
        assert_eq!(points, [[20.0, 1e5], [120.0, 2e5]]);
    }
}
