use std::fmt::{self, Display};

/// Smallest, middle and largest of some measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// # Panics
    /// There is no measurement.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a spread is of measurements");
        values.sort_by(f64::total_cmp);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self { min: values[0], median: f64::midpoint(below, above), max: values[values.len() - 1] }
    }

    /// `median (min to max)`, each as `format` has it.
    pub fn show(&self, format: fn(f64) -> String) -> String {
        format!("{} ({} to {})", format(self.median), format(self.min), format(self.max))
    }
}

/// A number a second: whole, in groups of three.
pub(crate) fn rate(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (idx, digit) in digits.char_indices() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A ratio or a time: two places.
pub(crate) fn fine(value: f64) -> String {
    format!("{value:.2}")
}

/// Lines under a heading, in columns.
pub(crate) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self { lines: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    pub fn add(&mut self, line: impl IntoIterator<Item = impl Display>) {
        self.lines.push(line.into_iter().map(|cell| cell.to_string()).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column_idx: usize| {
            self.lines.iter().filter_map(|line| line.get(column_idx)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..n_columns).map(|idx| width(idx).unwrap_or(0)).collect();
        for line in &self.lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Table, fine, rate};

    #[test]
    fn a_spread_has_the_middle_of_odd_and_even_numbers() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(vec![12_000.0, 950.4]).show(rate), "6,475 (950 to 12,000)");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["phase", "ratio"]);
        table.add(["creates", &fine(0.7)]);
        assert_eq!(table.to_string(), "phase    ratio\ncreates  0.70\n");
    }
}
