//! The port's conformance suite on the memory adapter.

use std::sync::Arc;

use tidegate_delivery::conformance::Fixture;
use tidegate_delivery_memory::MemoryDelivery;
use tidegate_model::SystemClock;

async fn fixture() -> Fixture {
    let delivery = Arc::new(MemoryDelivery::new(Arc::new(SystemClock)));
    let (wiped, measured) = (Arc::clone(&delivery), Arc::clone(&delivery));
    Fixture {
        delivery: Arc::clone(&delivery) as _,
        other: delivery,
        wipe: Box::new(move || {
            wiped.wipe();
            Box::pin(std::future::ready(()))
        }),
        footprint: Box::new(move || Box::pin(std::future::ready(measured.footprint()))),
    }
}

tidegate_delivery::conformance!(fixture);
