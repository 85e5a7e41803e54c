//! A benchmark's figures on the terminal and in files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use crate::figure::{Figure, Row};
use crate::plot;

/// The columns of a table of rows.
pub(crate) const COLUMNS: [&str; 6] = ["what", "measured", "compared with", "ratio", "reach", "reached"];

/// Prints the figures, and writes `NAME.json` and `NAME.svg` into `folder`.
pub(crate) fn write(name: &str, figures: &[Figure], folder: &Path) -> Result<()> {
    let rows: Vec<Row> = figures.iter().map(Row::from).collect();
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let save = |extension: &str, text: String| {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    };
    save("json", serde_json::to_string_pretty(&rows)? + "\n")?;
    save("svg", plot::svg(name, &rows))?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(COLUMNS);
    table.add_rows(rows.iter().map(cells));
    print(format!("{name}\n{table}"));
    Ok(())
}

/// A row as text, in the order of [`COLUMNS`].
pub(crate) fn cells(row: &Row) -> [String; 6] {
    let reference = match (&row.reference, row.reference_value, row.reference_spread) {
        (Some(name), Some(value), Some(spread)) => format!("{name}: {}", measured(value, spread, &row.unit)),
        _ => String::new(),
    };
    [
        row.name.clone(),
        measured(row.value, row.spread, &row.unit),
        reference,
        row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        row.target.clone().unwrap_or_default(),
        row.met.map(|met| if met { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
    ]
}

fn measured(value: f64, [least, most]: [f64; 2], unit: &str) -> String {
    if least == most {
        return format!("{} {unit}", number(value));
    }
    format!("{} {unit} ({} to {})", number(value), number(least), number(most))
}

/// With three significant digits, or all those before the point.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(2 - digits).unwrap_or_default().min(9);
    format!("{value:.decimals$}")
}

/// Says how far a benchmark has come.
#[expect(clippy::print_stderr, reason = "a command line program speaks to its caller")]
pub(crate) fn note(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// What the program is run for.
#[expect(clippy::print_stdout, reason = "the table is what the program is run for")]
pub(crate) fn print(text: impl std::fmt::Display) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.012345), "0.0123");
        assert_eq!(number(0.0), "0.00");
    }

    #[test]
    fn cells_say_what_was_compared() {
        let row = Row {
            name: "submissions".to_owned(),
            value: 900.0,
            spread: [880.0, 950.0],
            unit: "1/s".to_owned(),
            reference: Some("pgbench".to_owned()),
            reference_value: Some(1000.0),
            reference_spread: Some([1000.0, 1000.0]),
            ratio: Some(0.9),
            target: Some("≥ 0.6 ×".to_owned()),
            met: Some(true),
        };
        let expected = ["submissions", "900 1/s (880 to 950)", "pgbench: 1000 1/s", "0.90", "≥ 0.6 ×", "yes"];
        assert_eq!(cells(&row), expected);
    }
}
