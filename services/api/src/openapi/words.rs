//! The closed sets of words in the API's documents, as the types that define them have them.

use darkroom_jobs::{Event, FormatName, SchedulerKind};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr};

macro_rules! words {
    ($($name:ident, $about:literal, $words:expr;)+) => {$(
        #[doc = $about]
        #[derive(Debug)]
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = ObjectBuilder::new().schema_type(Type::String).description(Some($about));
                words.enum_values(Some($words)).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

words! {
    Pipeline, "The kind of work a job asks for.", darkroom_jobs::Pipeline::ALL.map(|word| word.as_str());
    JobState, "Where a job stands. The last four are final.", darkroom_jobs::JobState::ALL.iter().map(|word| word.as_str());
    Priority, "The class of a job: better classes start first.", darkroom_jobs::Priority::ALL.iter().map(|word| word.as_str());
    Scheduler, "How noise is removed step by step.", SchedulerKind::ALL.map(SchedulerKind::as_str);
    OutputFormat, "The format of pictures.", FormatName::ALL.iter().map(|word| word.as_str());
    JobEvent, "How jobs end, as webhooks are told.", Event::FINAL.map(Event::as_str);
    OneJobEvent, "What the webhook of a single job can be told.", Event::OF_ONE_JOB.map(Event::as_str);
    DeliveryState, "Where the delivery of a message stands.", ["pending", "delivered", "failed"];
}
