//! Plots in SVG, whose colours are the page's.

use std::fmt::Write as _;

use super::markup::escape;
use crate::figure::{Curve, Figure, Row};
use crate::peer::NULL;
use crate::stats::{median, quantile};

const WIDTH: f64 = 960.0;
/// Where the axis begins, behind the names.
const LEFT: f64 = 170.0;
/// The room behind the axis, for the medians.
const RIGHT: f64 = 56.0;
/// The height of one peer's row.
const ROW: f64 = 34.0;
/// The height of the axis with its numbers.
const AXIS: f64 = 40.0;
/// The height of a plot of lines, without its axis.
const LINES: f64 = 300.0;
/// How many colours the page has.
const COLOURS: usize = 8;
/// The most dots that are drawn of a row.
const DOTS: usize = 400;

/// Every value of a figure as a dot, with the quartiles as a box, the median as a bar and the 95th
/// percentile as a short one. Values beyond the largest 99th percentile lie at the edge.
pub fn distribution(figure: &Figure) -> String {
    let p99 = figure.rows.iter().filter_map(|row| Some(row.summary?.p99));
    let scale = Scale::to(p99.fold(0.0, f64::max), LEFT, WIDTH - RIGHT);
    let bottom = figure.rows.len() as f64 * ROW + 6.0;
    let mut svg = begin(&figure.title, bottom + AXIS);
    horizontal(&mut svg, &scale, bottom, figure.unit.symbol());
    let null = figure.rows.iter().find(|row| row.peer == NULL);
    if let Some(summary) = null.and_then(|row| row.summary) {
        let x = scale.place(summary.median);
        let _ = writeln!(
            svg,
            "<line class=\"floor\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{bottom:.1}\" />"
        );
    }
    for (index, row) in figure.rows.iter().enumerate() {
        let middle = (index as f64 + 0.5) * ROW + 3.0;
        one(&mut svg, &scale, row, middle, &colour(index));
    }
    svg.push_str("</svg>\n");
    svg
}

fn one(svg: &mut String, scale: &Scale, row: &Row, middle: f64, colour: &str) {
    let name = escape(&row.peer);
    let (x, y) = (LEFT - 12.0, middle + 4.0);
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>"
    );
    let values = &row.values;
    if values.is_empty() {
        return;
    }
    let step = values.len().div_ceil(DOTS);
    for (index, value) in values.iter().enumerate().step_by(step) {
        // Spread evenly and always in the same way.
        let spread = (index as f64 * 0.618_034).fract() - 0.5;
        let (x, y) = (scale.place(*value), middle + spread * ROW * 0.6);
        let _ = writeln!(
            svg,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" style=\"fill: {colour}\" />"
        );
    }
    let [low, middle_value, high, p95] =
        [0.25, 0.5, 0.75, 0.95].map(|share| scale.place(quantile(values, share)));
    let (top, height, width) = (middle - ROW * 0.3, ROW * 0.6, (high - low).max(1.0));
    let _ = writeln!(
        svg,
        "<rect class=\"box\" x=\"{low:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" style=\"fill: {colour}\" />"
    );
    for (x, half) in [(middle_value, ROW * 0.36), (p95, ROW * 0.16)] {
        let (y1, y2) = (middle - half, middle + half);
        let _ = writeln!(
            svg,
            "<line class=\"bar\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" style=\"stroke: {colour}\" />"
        );
    }
    let (value, x) = (median(values), WIDTH - 2.0);
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.1}</text>"
    );
}

/// A curve's lines, with the peers' names at their ends.
pub fn lines(curve: &Curve) -> String {
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    let right = WIDTH - LEFT;
    let x = Scale::to(
        points().map(|point| point[0]).fold(0.0, f64::max),
        60.0,
        right,
    );
    let y = Scale::to(
        points().map(|point| point[1]).fold(0.0, f64::max),
        LINES,
        10.0,
    );
    let mut svg = begin(&curve.title, LINES + AXIS);
    horizontal(&mut svg, &x, LINES, &curve.x);
    for tick in y.ticks() {
        let (at, number) = (y.place(tick), number(tick));
        let _ = writeln!(
            svg,
            "<line class=\"rule\" x1=\"60\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" />\n\
             <text class=\"quiet\" x=\"52\" y=\"{at:.1}\" text-anchor=\"end\">{number}</text>"
        );
    }
    let label = escape(&curve.y);
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"66\" y=\"20\">{label}</text>"
    );
    for (index, line) in curve.lines.iter().enumerate() {
        let colour = colour(index);
        let places: Vec<_> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.place(point[0]), y.place(point[1])))
            .collect();
        let (places, name) = (places.join(" "), escape(&line.peer));
        let (at, down) = (right + 14.0, 24.0 + index as f64 * 20.0);
        let (end, by) = (at + 16.0, down - 4.0);
        let _ = writeln!(
            svg,
            "<polyline class=\"line\" points=\"{places}\" style=\"stroke: {colour}\" />\n\
             <line class=\"bar\" x1=\"{at}\" x2=\"{end}\" y1=\"{by}\" y2=\"{by}\" style=\"stroke: {colour}\" />\n\
             <text x=\"{}\" y=\"{down}\">{name}</text>",
            end + 6.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title)
    )
}

fn horizontal(svg: &mut String, scale: &Scale, bottom: f64, label: &str) {
    for tick in scale.ticks() {
        let (x, y, number) = (scale.place(tick), bottom + 16.0, number(tick));
        let _ = writeln!(
            svg,
            "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{bottom:.1}\" />\n\
             <text class=\"quiet\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{number}</text>"
        );
    }
    let (x, y) = ((scale.from + scale.to) / 2.0, bottom + 34.0);
    let label = escape(label);
    let _ = writeln!(
        svg,
        "<text class=\"quiet\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"
    );
}

fn colour(index: usize) -> String {
    format!("var(--c{})", index % COLOURS)
}

fn number(value: f64) -> String {
    match value {
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Places between 0 and a largest value.
struct Scale {
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn to(most: f64, from: f64, to: f64) -> Self {
        let most = if most > 0.0 { most * 1.05 } else { 1.0 };
        Self { most, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value / self.most).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Some five round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = self.most / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power);
        let count = (self.most / step).floor() as usize;
        (0..=count).map(|index| index as f64 * step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(Scale::to(100.0, 0.0, 1.0).ticks(), [0.0, 50.0, 100.0]);
        assert_eq!(Scale::to(4.0, 0.0, 1.0).ticks(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn what_lies_beyond_the_scale_lies_at_its_edge() {
        let scale = Scale::to(100.0, 10.0, 20.0);
        assert_eq!((scale.place(1e9), scale.place(0.0)), (20.0, 10.0));
        assert_eq!(Scale::to(0.0, 10.0, 20.0).place(0.0), 10.0);
    }
}
