//! Lists and counts: a filter becomes SQL with bound values. Each comparison is true or false, never NULL, so that NOT
//! and OR mean what they say.

use sqlx::{Postgres, QueryBuilder};
use tidegate_store::{
    Comparison, CountQuery, Field, Filter, ListQuery, StoreError, Value,
    adapter::{self, PagePart},
};

use crate::queries::RUN_COLUMNS;

type Builder = QueryBuilder<Postgres>;

/// The statement for a part of a page.
pub(crate) fn list_runs(list: &ListQuery, part: &PagePart<'_>, limit: usize) -> Result<Builder, StoreError> {
    list_with(Builder::new(RUN_COLUMNS), list, part, limit)
}

/// The statement that gives the plan of the other.
#[cfg(feature = "testing")]
pub(crate) fn explain_list(list: &ListQuery, part: &PagePart<'_>) -> Result<Builder, StoreError> {
    list_with(Builder::new(format!("EXPLAIN (FORMAT JSON) {RUN_COLUMNS}")), list, part, list.limit)
}

fn list_with(
    mut sql: Builder,
    list: &ListQuery,
    part: &PagePart<'_>,
    limit: usize,
) -> Result<Builder, StoreError> {
    push_from(&mut sql, list.namespace.as_str(), &list.filter)?;
    let (beyond, direction) = if list.order.descending { ("<", "DESC") } else { (">", "ASC") };
    match part {
        PagePart::ByValue { column, after } => {
            sql.push(format_args!(" AND {column} IS NOT NULL"));
            if let Some((value, id)) = after {
                sql.push(format_args!(" AND ({column}, runs.id) {beyond} ("));
                push_value(&mut sql, value);
                sql.push(", ").push_bind(id.as_uuid()).push(")");
            }
            sql.push(format_args!(" ORDER BY {column} {direction}, runs.id {direction}"));
        }
        PagePart::ById { unset, after } => {
            if let Some(column) = unset {
                sql.push(format_args!(" AND {column} IS NULL"));
            }
            if let Some(id) = after {
                sql.push(format_args!(" AND runs.id {beyond} ")).push_bind(id.as_uuid());
            }
            sql.push(format_args!(" ORDER BY runs.id {direction}"));
        }
    }
    sql.push(" LIMIT ").push_bind(adapter::limit(limit));
    Ok(sql)
}

/// The statement that counts up to one more than is to be exact.
pub(crate) fn count_runs(count: &CountQuery) -> Result<Builder, StoreError> {
    let mut sql = Builder::new("SELECT count(*) FROM (SELECT 1");
    push_from(&mut sql, count.namespace.as_str(), &count.filter)?;
    sql.push(" LIMIT ").push_bind(adapter::signed(count.exact_up_to.saturating_add(1)));
    sql.push(") AS counted");
    Ok(sql)
}

/// The statement whose plan says how many rows there may be.
pub(crate) fn estimate_runs(count: &CountQuery) -> Result<Builder, StoreError> {
    let mut sql = Builder::new("EXPLAIN (FORMAT JSON) SELECT 1");
    push_from(&mut sql, count.namespace.as_str(), &count.filter)?;
    Ok(sql)
}

fn push_from(sql: &mut Builder, namespace: &str, filter: &Filter) -> Result<(), StoreError> {
    sql.push(" FROM runs WHERE runs.namespace = ").push_bind(namespace.to_owned());
    sql.push(" AND ");
    push(sql, filter)
}

pub(crate) fn push(sql: &mut Builder, filter: &Filter) -> Result<(), StoreError> {
    match filter {
        Filter::And(parts) => push_joined(sql, parts, "TRUE", " AND "),
        Filter::Or(parts) => push_joined(sql, parts, "FALSE", " OR "),
        Filter::Not(part) => {
            sql.push("NOT ");
            push(sql, part)
        }
        Filter::Compare(field, comparison, value) => push_comparison(sql, *field, *comparison, value),
        Filter::IsSet(field) => {
            push_is_set(sql, *field);
            Ok(())
        }
    }
}

fn push_joined(
    sql: &mut Builder,
    parts: &[Filter],
    empty: &'static str,
    operator: &'static str,
) -> Result<(), StoreError> {
    if parts.is_empty() {
        sql.push(empty);
        return Ok(());
    }
    sql.push("(");
    for (idx, part) in parts.iter().enumerate() {
        if idx > 0 {
            sql.push(operator);
        }
        push(sql, part)?;
    }
    sql.push(")");
    Ok(())
}

fn push_is_set(sql: &mut Builder, field: Field) {
    let column = adapter::column(field);
    // Empty lists and maps are written as runs_by_tag and runs_by_label leave them out.
    let empty = if matches!(field, Field::Tags | Field::Labels) { " <> '{}'" } else { " IS NOT NULL" };
    sql.push(format_args!("({column}{empty})"));
}

fn push_comparison(
    sql: &mut Builder,
    field: Field,
    comparison: Comparison,
    value: &Value,
) -> Result<(), StoreError> {
    let column = adapter::comparable(field, comparison, value)?;
    match (comparison, value) {
        (Comparison::Has, _) if field == Field::Labels => {
            sql.push("(runs.labels <> '{}' AND runs.labels ? ");
            push_value(sql, value);
        }
        (Comparison::Has, _) => {
            // As runs_by_tag has it: it leaves out runs without tags.
            sql.push("(runs.tags <> '{}' AND runs.tags @> ARRAY[");
            push_value(sql, value);
            sql.push("]");
        }
        (Comparison::Equal, Value::Label { key, text }) => {
            // As runs_by_label has it.
            sql.push("(runs.labels <> '{}' AND runs.labels @> jsonb_build_object(").push_bind(key.clone());
            sql.push("::text, ").push_bind(text.clone()).push("::text)");
        }
        (_, Value::Label { key, .. }) => {
            sql.push("EXISTS (SELECT 1 FROM (SELECT (runs.labels ->> ").push_bind(key.clone());
            sql.push(r#") COLLATE "C" AS text) AS label WHERE "#);
            push_plain(sql, "label.text", comparison, value);
        }
        (Comparison::Equal, _) if field == Field::Root => {
            // As runs_by_root has it: it leaves out uppermost runs.
            sql.push("(runs.id = ");
            push_value(sql, value);
            sql.push(" AND runs.parent_id IS NULL OR runs.parent_id IS NOT NULL AND runs.root_id = ");
            push_value(sql, value);
        }
        _ => {
            sql.push("(");
            push_plain(sql, column, comparison, value);
        }
    }
    sql.push(")");
    Ok(())
}

/// A comparison of a column of a plain type.
fn push_plain(sql: &mut Builder, column: &'static str, comparison: Comparison, value: &Value) {
    // Not LIKE: the value is text, and its % and _ are themselves.
    match comparison {
        Comparison::NotEqual => {
            sql.push(format_args!("{column} IS DISTINCT FROM "));
            push_value(sql, value);
        }
        Comparison::StartsWith => {
            sql.push(format_args!("{column} IS NOT NULL AND starts_with({column}, "));
            push_value(sql, value);
            sql.push(")");
        }
        Comparison::EndsWith => {
            sql.push(format_args!("{column} IS NOT NULL AND right({column}, length("));
            push_value(sql, value);
            sql.push(")) = ");
            push_value(sql, value);
        }
        Comparison::Contains => {
            sql.push(format_args!("{column} IS NOT NULL AND strpos({column}, "));
            push_value(sql, value);
            sql.push(") > 0");
        }
        _ => {
            let operator = adapter::operator(comparison);
            sql.push(format_args!("{column} IS NOT NULL AND {column} {operator} "));
            push_value(sql, value);
        }
    }
}

fn push_value(sql: &mut Builder, value: &Value) {
    match value {
        Value::Text(text) | Value::Label { text, .. } => sql.push_bind(text.clone()),
        Value::Number(number) => sql.push_bind(*number),
        Value::Time(time) => sql.push_bind(time.as_micros()),
        Value::State(state) => sql.push_bind(state.as_str()),
        Value::Kind(kind) => sql.push_bind(kind.as_str()),
        Value::Run(run) => sql.push_bind(run.as_uuid()),
        Value::Session(session) => sql.push_bind(session.as_uuid()),
    };
}
