//! Tables in documents whose rows are what tests have measured.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::progress::note;
use crate::workspace;

const END: &str = "<!-- end -->\n";

/// One such table. A test prints a row as a line of the mark and its columns, separated by tabs.
pub(crate) struct Measured {
    /// Where it stands, from the repository's root.
    document: &'static str,
    /// The line before it.
    begin: &'static str,
    /// Its first two lines.
    header: &'static str,
    /// What the line of a row begins with.
    mark: &'static str,
    /// The last column by the ones before, and whether the first of those is a number.
    rows: BTreeMap<(Option<u32>, Vec<String>), String>,
}

impl Measured {
    /// What `cargo xtask parity` writes.
    pub(crate) fn parity() -> Self {
        Self {
            document: "docs/models.md",
            begin: "<!-- begin: cargo xtask parity -->\n",
            header: "| what | case | measured |\n| --- | --- | --- |\n",
            mark: "parity\t",
            rows: BTreeMap::new(),
        }
    }

    /// What `cargo xtask test faults --record` writes.
    pub(crate) fn faults() -> Self {
        Self {
            document: "docs/operations.md",
            begin: "<!-- begin: cargo xtask test faults --record -->\n",
            header: "| # | fault | when | seen |\n| --- | --- | --- | --- |\n",
            mark: "fault\t",
            rows: BTreeMap::new(),
        }
    }

    /// Takes the row of a line that holds one. Tests run at the same time, so it may follow something else.
    pub(crate) fn take(&mut self, line: &str) {
        let Some((_, row)) = line.split_once(self.mark) else { return };
        let mut columns: Vec<String> = row.split('\t').map(str::to_owned).collect();
        if let Some(measured) = columns.pop() {
            let number = columns.first().and_then(|first| first.parse().ok());
            self.rows.insert((number, columns), measured);
        }
    }

    /// Writes the table into its document.
    pub(crate) fn write(&self) -> Result<()> {
        let document = self.document;
        let path = workspace::root()?.join(document);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {document}"))?;
        fs::write(&path, self.replace_in(&text)?).with_context(|| format!("failed to write {document}"))?;
        note(format!("wrote {} rows to {document}", self.rows.len()));
        Ok(())
    }

    fn replace_in(&self, text: &str) -> Result<String> {
        let Self { document, begin, .. } = self;
        let marks = text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = marks.with_context(|| {
            format!("{document} lacks the lines `{}` and `{}`", begin.trim_end(), END.trim_end())
        })?;
        Ok(format!("{before}{begin}{}{END}{after}", self.table()))
    }

    fn table(&self) -> String {
        let mut table = self.header.to_owned();
        for ((_, columns), measured) in &self.rows {
            table.push_str(&format!("| {} | {measured} |\n", columns.join(" | ")));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_takes_the_place_of_the_one_before() {
        let mut measured = Measured::parity();
        for line in ["parity\tVAE\ttiles\t1e-6", "test a ... parity\tVAE\tencoding\t2e-6", "no measurement"] {
            measured.take(line);
        }
        let begin = measured.begin;
        let text = format!("# Models\n{begin}old\n{END}More.\n");
        assert_eq!(
            measured.replace_in(&text).unwrap(),
            format!(
                "# Models\n{begin}| what | case | measured |\n| --- | --- | --- |\n| VAE | encoding | 2e-6 |\n\
                 | VAE | tiles | 1e-6 |\n{END}More.\n"
            )
        );
        assert!(measured.replace_in("# Models\n").is_err());
    }

    #[test]
    fn numbered_rows_are_in_the_order_of_their_numbers() {
        let mut measured = Measured::faults();
        for line in ["fault\t10\ta\t\tx", "fault\t9\tb\tlate\ty", "fault\t9\tb\tearly\tz"] {
            measured.take(line);
        }
        let rows: Vec<String> = measured.table().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(rows, ["| 9 | b | early | z |", "| 9 | b | late | y |", "| 10 | a |  | x |"]);
    }
}
