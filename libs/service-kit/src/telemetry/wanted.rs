use std::str::FromStr;

use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    filter::{ParseError, Targets},
    layer::Context,
};

/// Decides for logs and traces together what is made at all.
///
/// - Events: what the log filter lets through.
/// - Spans: ours, from INFO up, whatever the log filter says: quieter logs must not tear holes into traces. Never
///   those of libraries: the exporter's transport would trace itself.
///
/// One filter for all layers, and not one for each: with those, a library that asks `enabled!` without making an
/// event (as sqlx does) has the next event of its thread fall under the table.
pub(super) struct Wanted {
    logs: Targets,
}

impl FromStr for Wanted {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(Self { logs: text.parse()? })
    }
}

impl Wanted {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let in_logs = self.logs.would_enable(metadata.target(), metadata.level());
        if metadata.is_span() {
            metadata.target().starts_with("tidegate") && (in_logs || *metadata.level() <= Level::INFO)
        } else {
            in_logs
        }
    }
}

impl<S: Subscriber> Layer<S> for Wanted {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let of_targets = self.logs.iter().map(|(_, level)| level);
        of_targets.chain(self.logs.default_level()).chain([LevelFilter::INFO]).max()
    }
}
