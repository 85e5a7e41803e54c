//! Rows as a picture.

use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

use crate::figure::Row;

const WIDTH: f64 = 860.0;
/// Where bars begin, right of the names.
const LEFT: f64 = 330.0;
/// The longest bar.
const LENGTH: f64 = 420.0;
const TOP: f64 = 44.0;
/// Of one row.
const HEIGHT: f64 = 46.0;
const BAR: f64 = 14.0;
const OURS: &str = "#2f6f8f";
const REFERENCE: &str = "#b9b9b9";

/// Two bars for each row that is compared with something, in units of its longer one, and one for each that is not.
pub(crate) fn svg(title: &str, rows: &[Row]) -> String {
    let height = TOP + HEIGHT * rows.len() as f64 + 8.0;
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .add(Rectangle::new().set("width", WIDTH).set("height", height).set("fill", "#ffffff"))
        .add(Text::new(title).set("x", 12).set("y", 26).set("font-size", 17));
    for (index, row) in rows.iter().enumerate() {
        let top = TOP + HEIGHT * index as f64;
        let longest = row.reference_value.unwrap_or_default().max(row.value).max(f64::MIN_POSITIVE);
        let mut bar = |value: f64, y: f64, color: &str, label: String| {
            let length = LENGTH * value.max(0.0) / longest;
            let bar = Rectangle::new().set("x", LEFT).set("y", y).set("width", length).set("height", BAR);
            let label = Text::new(label).set("x", LEFT + 6.0).set("y", y + BAR - 3.0);
            let halo = label.clone().set("stroke", "#ffffff").set("stroke-width", 3);
            document = document.clone().add(bar.set("fill", color)).add(halo).add(label);
        };
        bar(row.value, top, OURS, format!("{:.4} {}", row.value, row.unit));
        if let (Some(value), Some(name)) = (row.reference_value, &row.reference) {
            bar(value, top + BAR + 2.0, REFERENCE, format!("{value:.4} {} {name}", row.unit));
        }
        let name = Text::new(row.name.as_str()).set("x", LEFT - 10.0).set("y", top + BAR - 3.0);
        document = document.add(name.set("text-anchor", "end"));
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default();
        let reach = row.target.as_ref().map(|target| format!("reach {target}")).unwrap_or_default();
        let color = if row.met == Some(false) { "#b03030" } else { "#303030" };
        let words =
            Text::new(format!("{ratio} {reach}")).set("x", LEFT - 10.0).set("y", top + 2.0 * BAR - 1.0);
        document = document.add(words.set("text-anchor", "end").set("fill", color));
    }
    let axis = Line::new().set("x1", LEFT).set("x2", LEFT).set("y1", TOP - 6.0).set("y2", height - 8.0);
    document.add(axis.set("stroke", "#303030")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_bars_share_a_scale() {
        let row = Row {
            name: "p99 < 5".to_owned(),
            value: 1.0,
            spread: [1.0, 1.0],
            unit: "ms".to_owned(),
            reference: Some("other".to_owned()),
            reference_value: Some(2.0),
            reference_spread: Some([2.0, 2.0]),
            ratio: Some(0.5),
            target: None,
            met: None,
        };
        let svg = svg("api", &[row]);
        assert!(svg.contains("p99 &lt; 5"), "{svg}");
        assert!(svg.contains(&format!("width=\"{}\"", LENGTH / 2.0)), "{svg}");
        assert!(svg.contains(&format!("width=\"{LENGTH}\"")), "{svg}");
    }
}
