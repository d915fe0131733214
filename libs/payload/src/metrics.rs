//! Metrics of payloads in object storage.

use metrics::{Unit, describe_counter};

/// Bytes that went through this process; the label `direction` is `upload` or `download`.
pub(crate) const BYTES: &str = "tidegate_payload_bytes_total";
/// Objects that were deleted because nothing referred to them.
pub(crate) const DELETED: &str = "tidegate_payload_deleted_total";
/// Objects whose bytes were not those that were announced.
pub(crate) const MISMATCHES: &str = "tidegate_payload_mismatches_total";

/// Tells the recorder what the numbers mean.
pub(crate) fn describe() {
    describe_counter!(BYTES, Unit::Bytes, "bytes of payloads that went through this process");
    describe_counter!(DELETED, Unit::Count, "payloads that were deleted because nothing referred to them");
    describe_counter!(MISMATCHES, Unit::Count, "payloads whose bytes were not those that were announced");
}
