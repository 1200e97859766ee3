-- What the front holds before any table of a user: access method, types, catalog relations and functions of our own.
-- Run once by scripts/front-template.mjs in a fresh database, as the superuser `postgres`. Columns of pg_dist_* and citus_*
-- are Citus 13's, those of gp_* and gpexpand.* Greenplum 7's.
SET allow_system_table_mods = on;

CREATE ACCESS METHOD columnar TYPE TABLE HANDLER heap_tableam_handler;

CREATE SCHEMA damson;
CREATE SCHEMA citus;
CREATE SCHEMA gpexpand;
GRANT USAGE ON SCHEMA damson, citus, gpexpand TO PUBLIC;

CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TYPE citus.distribution_type AS ENUM ('hash', 'range', 'append');
CREATE TYPE citus.shard_transfer_mode AS ENUM ('auto', 'force_logical', 'block_writes');

-- Citus's metadata ---------------------------------------------------------------------------------------------------

CREATE TABLE pg_catalog.pg_dist_node (
  nodeid integer NOT NULL,
  groupid integer NOT NULL,
  nodename text NOT NULL,
  nodeport integer NOT NULL,
  noderack text NOT NULL DEFAULT 'default',
  hasmetadata boolean NOT NULL DEFAULT false,
  isactive boolean NOT NULL DEFAULT true,
  noderole noderole NOT NULL DEFAULT 'primary',
  nodecluster name NOT NULL DEFAULT 'default',
  metadatasynced boolean NOT NULL DEFAULT false,
  shouldhaveshards boolean NOT NULL DEFAULT true,
  nodeisclone boolean NOT NULL DEFAULT false,
  nodeprimarynodeid integer NOT NULL DEFAULT 0
);

CREATE TABLE pg_catalog.pg_dist_partition (
  logicalrelid regclass NOT NULL,
  partmethod "char" NOT NULL,
  partkey text,
  colocationid integer NOT NULL DEFAULT 0,
  repmodel "char" NOT NULL DEFAULT 's',
  autoconverted boolean NOT NULL DEFAULT false
);

CREATE TABLE pg_catalog.pg_dist_shard (
  logicalrelid regclass NOT NULL,
  shardid bigint NOT NULL,
  shardstorage "char" NOT NULL,
  shardminvalue text,
  shardmaxvalue text
);

CREATE TABLE pg_catalog.pg_dist_placement (
  placementid bigint NOT NULL,
  shardid bigint NOT NULL,
  shardstate integer NOT NULL,
  shardlength bigint NOT NULL,
  groupid integer NOT NULL
);

CREATE TABLE pg_catalog.pg_dist_colocation (
  colocationid integer NOT NULL,
  shardcount integer NOT NULL,
  replicationfactor integer NOT NULL,
  distributioncolumntype oid NOT NULL,
  distributioncolumncollation oid NOT NULL
);

CREATE VIEW pg_catalog.pg_dist_shard_placement AS
  SELECT p.shardid, p.shardstate, p.shardlength, n.nodename, n.nodeport, p.placementid
  FROM pg_catalog.pg_dist_placement p
  JOIN pg_catalog.pg_dist_node n ON p.groupid = n.groupid AND n.noderole = 'primary'::pg_catalog.noderole;

-- Bytes of each shard on its segment, as last asked for.
CREATE TABLE damson.shard_size (shardid bigint PRIMARY KEY, bytes bigint NOT NULL);

-- Name of the distribution column: pg_dist_partition.partkey is the printed Var, as in Citus.
CREATE FUNCTION damson.distribution_column(relation regclass, partkey text) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT a.attname::text FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = relation AND a.attnum = substring(partkey, ':varattno (\d+)')::int2),
    '<none>')
$$;

CREATE FUNCTION damson.table_type(partmethod "char", repmodel "char", colocationid integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN partmethod = 'n' AND repmodel = 't' THEN 'reference'
    WHEN partmethod = 'n' AND colocationid = 0 THEN 'local'
    ELSE 'distributed'
  END
$$;

CREATE VIEW pg_catalog.citus_tables AS
  SELECT
    p.logicalrelid AS table_name,
    damson.table_type(p.partmethod, p.repmodel, p.colocationid) AS citus_table_type,
    damson.distribution_column(p.logicalrelid, p.partkey) AS distribution_column,
    p.colocationid AS colocation_id,
    pg_catalog.pg_size_pretty(coalesce(sizes.bytes, 0)) AS table_size,
    sizes.shards AS shard_count,
    pg_catalog.pg_get_userbyid(c.relowner) AS table_owner,
    am.amname AS access_method
  FROM pg_catalog.pg_dist_partition p
  JOIN pg_catalog.pg_class c ON c.oid = p.logicalrelid
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
  CROSS JOIN LATERAL (
    SELECT count(DISTINCT s.shardid) AS shards, sum(z.bytes)::bigint AS bytes
    FROM pg_catalog.pg_dist_shard s
    LEFT JOIN pg_catalog.pg_dist_placement q ON q.shardid = s.shardid
    LEFT JOIN damson.shard_size z ON z.shardid = q.shardid
    WHERE s.logicalrelid = p.logicalrelid
  ) sizes
  ORDER BY p.logicalrelid::text;

CREATE VIEW pg_catalog.citus_shards AS
  SELECT
    s.logicalrelid AS table_name,
    s.shardid,
    n.nspname || '.' || c.relname || '_' || s.shardid AS shard_name,
    damson.table_type(p.partmethod, p.repmodel, p.colocationid) AS citus_table_type,
    p.colocationid AS colocation_id,
    node.nodename,
    node.nodeport,
    coalesce(z.bytes, 0) AS shard_size
  FROM pg_catalog.pg_dist_shard s
  JOIN pg_catalog.pg_dist_partition p ON p.logicalrelid = s.logicalrelid
  JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_dist_placement q ON q.shardid = s.shardid
  JOIN pg_catalog.pg_dist_node node ON node.groupid = q.groupid AND node.noderole = 'primary'::pg_catalog.noderole
  LEFT JOIN damson.shard_size z ON z.shardid = s.shardid
  ORDER BY s.logicalrelid::text, s.shardid;

-- Greenplum's metadata -----------------------------------------------------------------------------------------------

CREATE TABLE pg_catalog.gp_segment_configuration (
  dbid smallint NOT NULL,
  content smallint NOT NULL,
  role "char" NOT NULL,
  preferred_role "char" NOT NULL,
  mode "char" NOT NULL,
  status "char" NOT NULL,
  port integer NOT NULL,
  hostname text NOT NULL,
  address text NOT NULL,
  datadir text NOT NULL
);

CREATE TABLE pg_catalog.gp_configuration_history (
  "time" timestamp with time zone NOT NULL,
  dbid smallint NOT NULL,
  "desc" text
);

CREATE TABLE pg_catalog.gp_distribution_policy (
  localoid oid NOT NULL,
  policytype "char" NOT NULL,
  numsegments integer NOT NULL,
  distkey int2vector,
  distclass oidvector
);

CREATE TABLE pg_catalog.gp_stat_replication (
  gp_segment_id integer,
  pid integer,
  usesysid oid,
  usename name,
  application_name text,
  client_addr inet,
  client_hostname text,
  client_port integer,
  backend_start timestamp with time zone,
  backend_xmin xid,
  state text,
  sent_lsn pg_lsn,
  write_lsn pg_lsn,
  flush_lsn pg_lsn,
  replay_lsn pg_lsn,
  sync_priority integer,
  sync_state text,
  sync_error text
);

CREATE TABLE gpexpand.status (status text, updated timestamp without time zone);

CREATE TABLE gpexpand.status_detail (
  dbname text,
  fq_name text,
  table_oid oid,
  root_partition_oid oid,
  rank integer,
  external_writable boolean,
  status text,
  expansion_started timestamp without time zone,
  expansion_finished timestamp without time zone,
  source_bytes numeric,
  attempts integer,
  error text
);

-- Rate: bytes of finished tables over the time that they took, since expansion was started last.
CREATE VIEW gpexpand.expansion_progress (name, value) AS
  WITH tables AS (
    SELECT status, source_bytes, expansion_started, expansion_finished FROM gpexpand.status_detail
  ),
  done AS (
    SELECT
      sum(source_bytes) AS bytes,
      extract(epoch FROM max(expansion_finished) - min(expansion_started)) AS seconds
    FROM tables
    WHERE status = 'COMPLETED'
      AND expansion_started >= (SELECT max(updated) FROM gpexpand.status WHERE status = 'EXPANSION STARTED')
  ),
  speed AS (
    SELECT bytes / greatest(seconds, 1) AS rate,
           (SELECT sum(source_bytes) FROM tables WHERE status IN ('NOT STARTED', 'IN PROGRESS', 'FAILED')) AS remaining
    FROM done
    WHERE bytes > 0
  ),
  labels (status, tables_label, bytes_label, place) AS (
    VALUES ('COMPLETED', 'Tables Expanded', 'Bytes Done', 1),
           ('NOT STARTED', 'Tables Left', 'Bytes Left', 2),
           ('IN PROGRESS', 'Tables In Progress', 'Bytes In Progress', 3),
           ('FAILED', 'Tables Failed', 'Bytes Failed', 4)
  ),
  answer (place, name, value) AS (
    SELECT l.place, l.tables_label, count(*)::text
    FROM tables t JOIN labels l ON l.status = t.status GROUP BY l.place, l.tables_label
    UNION ALL
    SELECT l.place + 10, l.bytes_label, sum(coalesce(t.source_bytes, 0))::text
    FROM tables t JOIN labels l ON l.status = t.status GROUP BY l.place, l.bytes_label
    UNION ALL
    SELECT 20, 'Estimated Expansion Rate', round(rate / 1048576, 2)::text || ' MB/s' FROM speed
    UNION ALL
    SELECT 21, 'Estimated Time to Completion', make_interval(secs => round(remaining / rate)::float8)::text
    FROM speed WHERE remaining IS NOT NULL AND rate > 0
  )
  SELECT name, value FROM answer ORDER BY place;

GRANT SELECT ON ALL TABLES IN SCHEMA damson, gpexpand TO PUBLIC;
GRANT SELECT ON
  pg_catalog.pg_dist_node, pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement,
  pg_catalog.pg_dist_colocation, pg_catalog.pg_dist_shard_placement, pg_catalog.citus_tables, pg_catalog.citus_shards,
  pg_catalog.gp_segment_configuration, pg_catalog.gp_configuration_history, pg_catalog.gp_distribution_policy,
  pg_catalog.gp_stat_replication
  TO PUBLIC;

-- Functions of the cluster -------------------------------------------------------------------------------------------
-- The coordinator executes them where they are called alone, at the top of a SELECT; elsewhere they raise this error.

CREATE FUNCTION damson.at_top_only() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'this function runs only as a SELECT of its own'
    USING ERRCODE = '0A000', HINT = 'Write SELECT function(arguments); with constants, and nothing beside it.';
END
$$;

CREATE FUNCTION pg_catalog.create_distributed_table(
  table_name regclass, distribution_column text, distribution_type citus.distribution_type DEFAULT 'hash',
  colocate_with text DEFAULT 'default', shard_count integer DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.undistribute_table(table_name regclass, cascade_via_foreign_keys boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.alter_distributed_table(
  table_name regclass, distribution_column text DEFAULT NULL, shard_count integer DEFAULT NULL,
  colocate_with text DEFAULT NULL, cascade_to_colocated boolean DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.alter_table_set_access_method(table_name regclass, access_method text)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

-- An argument of type "any" is open to internal functions alone: any_in does nothing but raise an error (0A000).
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(table_name regclass, distribution_value "any" DEFAULT NULL)
RETURNS bigint LANGUAGE internal AS 'any_in';

CREATE FUNCTION pg_catalog.citus_move_shard_placement(
  shard_id bigint, source_node_name text, source_node_port integer, target_node_name text, target_node_port integer,
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.citus_move_shard_placement(
  shard_id bigint, source_node_id integer, target_node_id integer,
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM damson.at_top_only(); END $$;

CREATE FUNCTION pg_catalog.damson_version() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 'Damson @VERSION@'::text $$;
