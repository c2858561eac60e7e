//! What the rounds gave, as one table.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

/// The rows in the order in which they first came.
#[derive(Default)]
pub struct Results(Vec<Row>);

/// One figure, once for each round.
struct Row {
    what: String,
    unit: &'static str,
    gateway: Vec<f64>,
    /// What the least costs, where there is such a thing.
    limit: Vec<f64>,
}

impl Results {
    /// Adds a round's figure, and beside it the limit's from the same round.
    pub fn note(&mut self, what: &str, unit: &'static str, gateway: f64, limit: Option<f64>) {
        let known = self
            .0
            .iter()
            .position(|row| row.what == what && row.unit == unit);
        let place = known.unwrap_or_else(|| {
            self.0.push(Row {
                what: what.to_owned(),
                unit,
                gateway: Vec::new(),
                limit: Vec::new(),
            });
            self.0.len() - 1
        });
        self.0[place].gateway.push(gateway);
        self.0[place].limit.extend(limit);
    }

    /// Medians, and the least and the most in brackets. Ratios are taken inside each round.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(["", "", "gateway", "limit", "gateway / limit"]);
        for row in &self.0 {
            let pairs = row.gateway.iter().zip(&row.limit);
            let ratios: Vec<_> = pairs.map(|(gateway, limit)| gateway / limit).collect();
            table.add_row([
                row.what.clone(),
                row.unit.to_owned(),
                spread(&row.gateway),
                spread(&row.limit),
                spread(&ratios),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// The value that this part of the others does not exceed: 0.5 is the median.
pub fn quantile(durations: &mut [Duration], part: f64) -> Duration {
    let last = durations.len() - 1;
    let place = (last as f64 * part).round() as usize;
    *durations.select_nth_unstable(place).1
}

/// Median, least and most.
fn spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.last()) {
        (Some(least), Some(most)) => {
            let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
            let median = number((low + high) / 2.0);
            format!("{median} ({} – {})", number(*least), number(*most))
        }
        _ => String::new(),
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
