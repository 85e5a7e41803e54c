//! What a schema is made of, as lines that can be compared.

use sqlx::PgConnection;

/// Everything a migration may make or change in `public`, with its comment. Columns are in the order of their
/// names: one that was dropped and made again is last in its table.
const SHAPE: &str = "
select format('table %s %s -- %s', c.relname, c.reloptions, obj_description(c.oid, 'pg_class'))
from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'S', 'v', 'm')
union all
select format('column %s.%s %s not null: %s default: %s identity: %s generated: %s -- %s', c.relname, a.attname,
              format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
              a.attgenerated, col_description(a.attrelid, a.attnum))
from pg_attribute a join pg_class c on c.oid = a.attrelid
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm') and a.attnum > 0
  and not a.attisdropped
union all
select format('constraint %s on %s %s -- %s', n.conname, n.conrelid::regclass, pg_get_constraintdef(n.oid),
              obj_description(n.oid, 'pg_constraint'))
from pg_constraint n where n.connamespace = 'public'::regnamespace
union all
select format('index %s -- %s', pg_get_indexdef(i.indexrelid), obj_description(i.indexrelid, 'pg_class'))
from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = 'public'::regnamespace
union all
select format('view %s %s', v.viewname, v.definition) from pg_views v where v.schemaname = 'public'
union all
select format('trigger %s -- %s', pg_get_triggerdef(t.oid), obj_description(t.oid, 'pg_trigger'))
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where c.relnamespace = 'public'::regnamespace and not t.tgisinternal
union all
select format('function %s -- %s', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc')) from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')
union all
select format('type %s %s', t.typname, array(select enumlabel from pg_enum where enumtypid = t.oid order by enumsortorder))
from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('d', 'e')
order by 1";

/// The lines of a schema.
pub(super) async fn shape(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(SHAPE).persistent(false).fetch_all(connection).await.unwrap()
}

/// Asserts that two schemas are the same, and else says what differs.
#[track_caller]
pub(super) fn same(found: &[String], expected: &[String], when: &str) {
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (more, less) = (only(found, expected), only(expected, found));
    assert!(found == expected, "{when}, the schema is another one\nhas:\n{more}\nlacks:\n{less}");
}
