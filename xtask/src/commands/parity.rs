//! `cargo xtask parity`: the table of `docs/models.md`, from what the tests measure.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupt;
use crate::progress::note;
use crate::workspace;

/// What the tests of `darkroom-models` begin the line of a measurement with.
const MARK: &str = "parity\t";
const DOCUMENT: &str = "docs/models.md";
const BEGIN: &str = "<!-- begin: cargo xtask parity -->\n";
const END: &str = "<!-- end -->\n";

/// Runs the comparisons with the reference and writes what they measure into the document.
pub(crate) fn run(interrupt: &Interrupt) -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "-p", "darkroom-models", "--test", "it", "--", "--nocapture"]);
    let mut rows = BTreeMap::new();
    let status = workspace::run(cargo, interrupt, |line| rows.extend(row(line)))?;
    if !status.success() {
        bail!("the tests of darkroom-models failed: nothing was written");
    }
    let path = workspace::root()?.join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {DOCUMENT}"))?;
    let text = replace_table(&text, &table(&rows))?;
    fs::write(&path, text).with_context(|| format!("failed to write {DOCUMENT}"))?;
    note(format!("wrote {} measurements to {DOCUMENT}", rows.len()));
    Ok(())
}

/// Subject and case, and what was measured, of a line that holds a measurement. Tests run at the same time, so
/// it may follow something else.
fn row(line: &str) -> Option<((String, String), String)> {
    let (_, measurement) = line.split_once(MARK)?;
    let mut columns = measurement.split('\t').map(str::to_owned);
    Some(((columns.next()?, columns.next()?), columns.next()?))
}

fn table(rows: &BTreeMap<(String, String), String>) -> String {
    let mut table = "| what | case | measured |\n| --- | --- | --- |\n".to_owned();
    for ((subject, case), measured) in rows {
        table.push_str(&format!("| {subject} | {case} | {measured} |\n"));
    }
    table
}

fn replace_table(text: &str, table: &str) -> Result<String> {
    let marks = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marks.with_context(|| {
        format!("{DOCUMENT} lacks the lines `{}` and `{}`", BEGIN.trim_end(), END.trim_end())
    })?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_takes_the_place_of_the_one_before() {
        let rows = ["parity\tVAE\ttiles\t1e-6", "test a ... parity\tVAE\tencoding\t2e-6", "no measurement"];
        let rows = rows.into_iter().filter_map(row).collect();
        let text = format!("# Models\n{BEGIN}old\n{END}More.\n");
        assert_eq!(
            replace_table(&text, &table(&rows)).unwrap(),
            format!(
                "# Models\n{BEGIN}| what | case | measured |\n| --- | --- | --- |\n| VAE | encoding | 2e-6 |\n\
                 | VAE | tiles | 1e-6 |\n{END}More.\n"
            )
        );
        assert!(replace_table("# Models\n", "").is_err());
    }
}
