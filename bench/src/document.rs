//! `docs/performance.md`: its tables, from the JSON of the benchmarks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::figure::Row;
use crate::report::{COLUMNS, cells};

const END: &str = "<!-- end -->\n";

/// Writes the rows of `folder/NAME.json` into their place in `document`, and the plot beside it.
pub(crate) fn record(name: &str, folder: &Path, document: &Path) -> Result<()> {
    let json = folder.join(format!("{name}.json"));
    let rows = fs::read(&json).with_context(|| format!("failed to read {}", json.display()))?;
    let rows: Vec<Row> = serde_json::from_slice(&rows)?;
    let text =
        fs::read_to_string(document).with_context(|| format!("failed to read {}", document.display()))?;
    let text = replace(&text, name, &rows).with_context(|| {
        format!("{} lacks the lines `{}` and `{}`", document.display(), begin(name).trim(), END.trim())
    })?;
    fs::write(document, text).with_context(|| format!("failed to write {}", document.display()))?;
    let plots = document.with_extension("");
    fs::create_dir_all(&plots)?;
    let plot = format!("{name}.svg");
    fs::copy(folder.join(&plot), plots.join(&plot)).context("failed to copy the plot")?;
    Ok(())
}

fn begin(name: &str) -> String {
    format!("<!-- begin: cargo xtask bench {name} --record -->\n")
}

/// `None` when the document has no place for the table.
fn replace(text: &str, name: &str, rows: &[Row]) -> Option<String> {
    let begin = begin(name);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    let line = |cells: [String; 6]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(COLUMNS.map(str::to_owned)) + &line(["---"; 6].map(str::to_owned));
    table.extend(rows.iter().map(|row| line(cells(row))));
    Some(format!("{before}{begin}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_takes_the_place_of_the_one_before() {
        let row = Row {
            name: "poll".to_owned(),
            value: 5.0,
            spread: [5.0, 5.0],
            unit: "ms".to_owned(),
            reference: None,
            reference_value: None,
            reference_spread: None,
            ratio: None,
            target: Some("≤ 6".to_owned()),
            met: Some(true),
        };
        let begin = begin("api");
        let text = format!("# Performance\n{begin}old\n{END}More.\n");
        let expected = format!(
            "# Performance\n{begin}| what | measured | compared with | ratio | reach | reached |\n\
             | --- | --- | --- | --- | --- | --- |\n| poll | 5.00 ms |  |  | ≤ 6 | yes |\n{END}More.\n"
        );
        assert_eq!(replace(&text, "api", &[row]).unwrap(), expected);
        assert_eq!(replace("# Performance\n", "api", &[]), None);
    }
}
