use tidegate_store::adapter::Statement;

macro_rules! statements {
    ($($name:ident = $path:literal;)*) => {
        $(pub(super) static $name: Statement =
            Statement::new($path, include_str!(concat!("../../queries/", $path)));)*

        /// All statements about logs, for the test that each of them is reached by the conformance suite.
        pub static STATEMENTS: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    COPY = "logs/copy.sql";
    INSERT = "logs/insert.sql";
    USES_TLS = "logs/uses_tls.sql";
    NOTIFY = "logs/notify.sql";
    QUERY_RUN = "logs/query_run.sql";
    QUERY_TREE = "logs/query_tree.sql";
    TAIL_RUN = "logs/tail_run.sql";
    TAIL_TREE = "logs/tail_tree.sql";
    END = "logs/end.sql";
    DAYS = "logs/days.sql";
    DROP_UNPLACED = "logs/drop_unplaced.sql";
    LOCK_WRITERS = "log_writers/lock.sql";
    PUT_WRITERS = "log_writers/put.sql";
    FORGET_WRITERS = "log_writers/forget.sql";
}

/// The channel of `logs/notify.sql`.
pub(super) const CHANNEL: &str = "tidegate_logs";
