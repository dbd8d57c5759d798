-- The shape of one table as JSON (cdc.schema.shape.Shape), NULL when there is none. Parameters: oid, publication (or NULL).
SELECT jsonb_build_object(
    'id', c.oid::bigint,
    'table', n.nspname || '.' || c.relname,
    'identity', c.relreplident::text,
    'key', coalesce((
        SELECT jsonb_agg(a.attname ORDER BY k.at)
          FROM pg_catalog.pg_index i
         CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(attnum, at)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
    ), '[]'),
    'unique', coalesce((
        SELECT jsonb_agg(u.columns ORDER BY u.columns) FROM (
            SELECT DISTINCT (SELECT array_agg(a.attname::text ORDER BY a.attname)
                               FROM pg_catalog.pg_attribute a
                              WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) AS columns
              FROM pg_catalog.pg_index i
             WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        ) u
    ), '[]'),
    'published', $2::text IS NULL OR EXISTS (
        SELECT FROM pg_catalog.pg_publication_tables p
         WHERE p.pubname = $2::text AND p.schemaname = n.nspname AND p.tablename = c.relname),
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
                   'number', a.attnum, 'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                   'oid', a.atttypid::bigint, 'modifier', a.atttypmod, 'not_null', a.attnotnull,
                   'default', a.atthasdef OR a.attidentity <> '') ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ), '[]'))
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = $1 AND c.relkind IN ('r', 'p')
