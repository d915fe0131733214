//! The port's conformance suite on the Redis adapter.

mod support;

use std::sync::Arc;

use tidegate_delivery::conformance::Fixture;
use tidegate_delivery_redis::RedisDelivery;

async fn fixture() -> Fixture {
    let options = support::options();
    let delivery = RedisDelivery::connect(&options).await.expect("connect to the test's Redis");
    let other = RedisDelivery::connect(&options).await.expect("connect to the test's Redis");
    let (wiped, measured) = (options.clone(), options);
    Fixture {
        delivery: Arc::new(delivery),
        other: Arc::new(other),
        wipe: Box::new(move || Box::pin(support::wipe(wiped.clone()))),
        footprint: Box::new(move || Box::pin(support::footprint(measured.clone()))),
    }
}

tidegate_delivery::conformance!(fixture);
