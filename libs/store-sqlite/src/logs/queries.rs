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
    APPEND = "logs/append.sql";
    QUERY_RUN = "logs/query_run.sql";
    QUERY_TREE = "logs/query_tree.sql";
    TAIL_RUN = "logs/tail_run.sql";
    TAIL_TREE = "logs/tail_tree.sql";
    END = "logs/end.sql";
    DROP_DAYS = "logs/drop_days.sql";
    GET_WRITER = "log_writers/get.sql";
    PUT_WRITER = "log_writers/put.sql";
    FORGET_WRITERS = "log_writers/forget.sql";
}
