//! Rows for every table there is, whatever the schema: values are drawn until the table takes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// Rows that a table gets.
const ROWS: u32 = 40;
/// Draws for them: of those for `jobs`, one in ten or so satisfies every check.
const DRAWS: u32 = 4_000;
/// All rows of a schema, by table.
pub(super) type Rows = BTreeMap<String, Vec<Map<String, Value>>>;

/// Adds rows to every table, with a value in every column.
///
/// # Panics
/// When a table gets no row, or a column no value: [`literals`] has none that satisfies its checks.
pub(super) async fn fill(connection: &mut PgConnection) {
    execute(connection, "select setseed(0.5)").await;
    let mut refusals = BTreeMap::new();
    let mut waiting = tables(connection).await;
    while !waiting.is_empty() {
        // Those that others refer to come before them.
        let mut next = None;
        for (at, table) in waiting.iter().enumerate() {
            let columns = columns(connection, table).await;
            let mut targets = columns.iter().filter_map(|column| Some(&column.target.as_ref()?.0));
            if next.is_none() && targets.all(|target| target == table || !waiting.contains(target)) {
                next = Some(at);
            }
        }
        let table = waiting.remove(next.unwrap_or(0));
        let refusal = draw(connection, &table).await;
        refusals.insert(table, refusal);
    }
    for table in tables(connection).await {
        for column in columns(connection, &table).await {
            let name = &column.name;
            let sql = format!("select exists (select from {table} where {name} is not null)");
            let refusal = &refusals[&table];
            assert!(is_true(connection, &sql).await, "{table}.{name} got no value; last refused: {refusal}");
        }
    }
}

/// All rows there are.
pub(super) async fn rows(connection: &mut PgConnection) -> Rows {
    let mut all = Rows::new();
    for table in tables(connection).await {
        let sql = format!("select to_jsonb(t)::text from {table} t");
        let texts: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let parsed = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        all.insert(table, parsed);
    }
    all
}

/// Asserts that all of `before` is in `after`, as far as tables and columns are still there.
#[track_caller]
pub(super) fn survived(before: &Rows, after: &Rows, when: &str) {
    for (table, rows) in before {
        let Some(now) = after.get(table) else { continue };
        let Some(columns) = now.first().map(|row| row.keys().cloned().collect::<Vec<_>>()) else {
            panic!("{when}, {table} has lost all {} rows", rows.len());
        };
        let old: Vec<String> = rows.first().map(|row| row.keys().cloned().collect()).unwrap_or_default();
        let common: Vec<&String> = columns.iter().filter(|column| old.contains(column)).collect();
        let key = |row: &Map<String, Value>| {
            common.iter().map(|column| row[*column].to_string()).collect::<Vec<_>>().join("\t")
        };
        let mut left: Vec<String> = now.iter().map(key).collect();
        for row in rows.iter().map(key) {
            let at = left.iter().position(|other| *other == row);
            let at = at.unwrap_or_else(|| panic!("{when}, {table} has lost or changed\n{row}"));
            left.swap_remove(at);
        }
    }
}

struct Column {
    name: String,
    kind: String,
    nullable: bool,
    /// Where it points, as `table (column)`.
    target: Option<(String, String)>,
    /// Words that a check of it alone names: nothing else will do.
    words: Vec<String>,
    /// Words that checks of it and others name.
    hints: Vec<String>,
}

impl Column {
    /// An expression that draws a value.
    fn draw(&self) -> String {
        let words = self.words.iter();
        let mut values: Vec<String> = match (&self.target, self.kind.as_str()) {
            (Some((table, column)), _) => {
                vec![format!("(select {column} from {table} order by random() limit 1)")]
            }
            (None, "text") if !self.words.is_empty() => words.map(|word| format!("'{word}'")).collect(),
            (None, "text[]") if !self.words.is_empty() => {
                words.map(|word| format!("array['{word}']")).collect()
            }
            (None, "text") => {
                let hints = self.hints.iter().map(|word| format!("'{word}'"));
                literals("text").map(str::to_owned).chain(hints).collect()
            }
            (None, kind) => literals(kind).map(str::to_owned).collect(),
        };
        if self.nullable {
            // As often as not.
            values.extend(vec!["null".to_owned(); values.len().max(1)]);
        }
        let mut cases = String::new();
        for (number, value) in values.iter().enumerate() {
            cases.push_str(&format!("when {number} then ({value})::{} ", self.kind));
        }
        format!("case floor(random() * {})::int {cases}end", values.len().max(1))
    }
}

/// Values of a type that some check or other is content with.
fn literals(kind: &str) -> impl Iterator<Item = &'static str> {
    let literals: &[&str] = match kind {
        "uuid" => &["gen_random_uuid()"],
        "text" => &["'m'", "md5(random()::text)", "'text-to-image:m'", "'https://example.com/'"],
        "text[]" => &["array['read']", "array['submit', 'read']"],
        "smallint" | "integer" | "bigint" => &["0", "1", "2", "floor(random() * 100)"],
        "numeric" => &["0", "0.5", "12.25"],
        "double precision" | "real" => &["0", "0.5"],
        "boolean" => &["true", "false"],
        "timestamp with time zone" => &["now()", "now() - interval '1 day'", "now() + interval '1 day'"],
        "date" => &["current_date", "current_date - 1 - floor(random() * 100)::int"],
        "interval" => &["interval '1 second'"],
        "bytea" => &["sha256(md5(random()::text)::bytea)", "sha512('x')", "substr(sha256('x'), 1, 24)"],
        "jsonb" => &["'{}'", "'[]'", "'{\"a\": 1}'"],
        _ => &[],
    };
    literals.iter().copied()
}

/// Tries rows until enough are taken. Says what was wrong with the last that was not.
async fn draw(connection: &mut PgConnection, table: &str) -> String {
    let columns = columns(connection, table).await;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let values: Vec<String> = columns.iter().map(Column::draw).collect();
    let insert = format!("insert into {table} ({}) values ({})", names.join(", "), values.join(", "));
    let block = format!(
        "create or replace function pg_temp.draw(out refusal text) language plpgsql as $$
         declare made int := 0;
         begin
             refusal := 'none';
             for i in 1..{DRAWS} loop
                 exit when made = {ROWS};
                 begin
                     {insert};
                     made := made + 1;
                 exception when others then refusal := sqlerrm;
                 end;
             end loop;
         end $$"
    );
    execute(connection, &block).await;
    let drawn = sqlx::query_scalar("select refusal from pg_temp.draw()").persistent(false);
    drawn.fetch_one(connection).await.unwrap()
}

async fn tables(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select relname::text from pg_class
               where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> '_sqlx_migrations'
               order by 1";
    sqlx::query_scalar(sql).persistent(false).fetch_all(connection).await.unwrap()
}

/// The columns that a statement may write.
async fn columns(connection: &mut PgConnection, table: &str) -> Vec<Column> {
    let sql = "
        select quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), not a.attnotnull,
               f.confrelid::regclass::text,
               (select quote_ident(t.attname) from pg_attribute t
                where t.attrelid = f.confrelid
                  and t.attnum = f.confkey[array_position(f.conkey, a.attnum)]),
               array(select distinct word[1] from pg_constraint n,
                            regexp_matches(pg_get_constraintdef(n.oid), '''([^'']*)''::text', 'g') word
                     where n.conrelid = a.attrelid and n.contype = 'c' and n.conkey = array[a.attnum] and word[1] <> ''),
               array(select distinct word[1] from pg_constraint n,
                            regexp_matches(pg_get_constraintdef(n.oid), '''([^'']*)''::text', 'g') word
                     where n.conrelid = a.attrelid and n.contype = 'c' and a.attnum = any (n.conkey) and word[1] <> '')
        from pg_attribute a
             left join pg_constraint f on f.contype = 'f' and f.conrelid = a.attrelid and a.attnum = any (f.conkey)
        where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attidentity = ''
          and a.attgenerated = ''
        order by a.attnum";
    let found = sqlx::query(sql).bind(table).persistent(false).fetch_all(connection).await.unwrap();
    let column = |row: &sqlx::postgres::PgRow| Column {
        name: row.get(0),
        kind: row.get(1),
        nullable: row.get(2),
        target: row.get::<Option<String>, _>(3).zip(row.get(4)),
        words: row.get(5),
        hints: row.get(6),
    };
    found.iter().map(column).collect()
}

async fn is_true(connection: &mut PgConnection, sql: &str) -> bool {
    let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).persistent(false);
    query.fetch_one(connection).await.unwrap()
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}
