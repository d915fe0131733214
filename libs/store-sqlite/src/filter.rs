//! Lists and counts: a filter becomes SQL with bound values. Each comparison is true or false, never NULL, so that NOT
//! and OR mean what they say.

use sqlx::{QueryBuilder, Sqlite};
use tidegate_store::{
    Comparison, CountQuery, Field, Filter, ListQuery, StoreError, Value,
    adapter::{self, PagePart},
};

use crate::queries::RUN_COLUMNS;

type Builder = QueryBuilder<Sqlite>;

/// The statement for a part of a page.
pub(crate) fn list_runs(list: &ListQuery, part: &PagePart<'_>, limit: usize) -> Result<Builder, StoreError> {
    let mut sql = Builder::new(RUN_COLUMNS);
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
    let empty = match field {
        Field::Tags => " <> '[]'",
        Field::Labels => " <> '{}'",
        _ => " IS NOT NULL",
    };
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
            sql.push("EXISTS (SELECT 1 FROM json_each(runs.labels) AS label WHERE label.key = ");
            push_value(sql, value);
        }
        (Comparison::Has, _) => {
            sql.push("EXISTS (SELECT 1 FROM json_each(runs.tags) AS tag WHERE tag.value = ");
            push_value(sql, value);
        }
        (Comparison::NotEqual, Value::Label { key, .. }) => {
            push_label(sql, "NOT EXISTS", key);
            push_plain(sql, "label.value", Comparison::Equal, value);
        }
        (_, Value::Label { key, .. }) => {
            push_label(sql, "EXISTS", key);
            push_plain(sql, "label.value", comparison, value);
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

/// Begins a question about the label of this key.
fn push_label(sql: &mut Builder, exists: &'static str, key: &str) {
    sql.push(format_args!("{exists} (SELECT 1 FROM json_each(runs.labels) AS label WHERE label.key = "));
    sql.push_bind(key.to_owned()).push(" AND ");
}

/// A comparison of a column of a plain type.
fn push_plain(sql: &mut Builder, column: &'static str, comparison: Comparison, value: &Value) {
    // Not LIKE: the value is text, and its % and _ are themselves.
    match comparison {
        Comparison::NotEqual => {
            sql.push(format_args!("{column} IS NOT "));
            push_value(sql, value);
        }
        Comparison::StartsWith => {
            sql.push(format_args!("{column} IS NOT NULL AND substr({column}, 1, length("));
            push_value(sql, value);
            sql.push(")) = ");
            push_value(sql, value);
        }
        Comparison::EndsWith => {
            // Not substr from the end: of an empty value it would take all.
            sql.push(format_args!(
                "{column} IS NOT NULL AND substr({column}, length({column}) + 1 - length("
            ));
            push_value(sql, value);
            sql.push(")) = ");
            push_value(sql, value);
        }
        Comparison::Contains => {
            sql.push(format_args!("{column} IS NOT NULL AND instr({column}, "));
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
