//! `darkroom models`.

use darkroom_client::Model;
use serde_json::Value;

use crate::failure::Outcome;
use crate::session::{Form, Session, print_line};
use crate::show::table;

pub(super) async fn run(session: &Session) -> anyhow::Result<Outcome> {
    let models = session.client.models().await?;
    match session.form {
        Form::Text => {
            let head = ["MODEL", "PIPELINE", "STATE", "WORKERS", "DEFAULTS", "PRICE"];
            print_line(&table(&head, models.iter().map(row)))?;
        }
        Form::Json => models.iter().try_for_each(|model| session.print(String::new, model))?,
    }
    Ok(Outcome::Done)
}

fn row(model: &Model) -> Vec<String> {
    let names = std::iter::once(&model.id).chain(&model.aliases).map(String::as_str).collect::<Vec<_>>();
    vec![
        names.join(", ") + if model.default { " (default)" } else { "" },
        model.pipeline.clone(),
        state(model),
        format!("{} ({} loaded)", model.workers, model.loaded),
        model.defaults.as_ref().map(defaults).unwrap_or_default(),
        model.price.as_ref().map_or_else(|| "free".to_owned(), price),
    ]
}

fn state(model: &Model) -> String {
    let state = serde_json::to_value(model.state).unwrap_or_default();
    let state = state.as_str().unwrap_or_default();
    match (&model.download, &model.failure) {
        (Some(download), _) if download.total_bytes > 0 => {
            let percent = u128::from(download.downloaded_bytes) * 100 / u128::from(download.total_bytes);
            format!("{state} {percent} %")
        }
        (_, Some(failure)) => format!("{state}: {failure}"),
        _ => state.to_owned(),
    }
}

fn defaults(defaults: &Value) -> String {
    format!(
        "{} × {}, {} steps, guidance {}",
        defaults["width"], defaults["height"], defaults["steps"], defaults["guidance_scale"]
    )
}

fn price(price: &Value) -> String {
    let text = |member: &str| price[member].as_str().unwrap_or_default().to_owned();
    let pixels = match price["pixels_per_unit"].as_u64() {
        Some(1) | None => "pixel".to_owned(),
        Some(pixels) => format!("{pixels} pixels"),
    };
    format!("{} {} per {pixels}", text("per_unit"), text("currency"))
}
