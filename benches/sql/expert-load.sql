-- Updates the tables of expert-schema.sql to match the CSV file on standard input: one transaction, set-based statements,
-- and only rows that differ are written.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
SET LOCAL work_mem = '512MB';
CREATE TEMP TABLE file (
    id text, name text, org text, title text, number text, kind text, note text, email text, priority text, teams text
) ON COMMIT DROP;
\copy file FROM pstdin WITH (FORMAT csv, HEADER true)
ANALYZE file;

CREATE TEMP TABLE work ON COMMIT DROP AS
    SELECT f.*, hash.line_hash, p.pid, p.pid IS NULL AS is_new
    FROM file f
    CROSS JOIN LATERAL (SELECT hashtextextended(f::text, 0) AS line_hash) AS hash
    LEFT JOIN people p ON p.id = f.id
    WHERE p.line_hash IS DISTINCT FROM hash.line_hash;
UPDATE work SET pid = nextval(pg_get_serial_sequence('people', 'pid')) WHERE is_new;
ANALYZE work;

DELETE FROM people p WHERE NOT EXISTS (SELECT FROM file f WHERE f.id = p.id);
INSERT INTO people (pid, id, name, org, title, email, priority, line_hash)
    SELECT pid, id, name, org, title, email, priority, line_hash FROM work WHERE is_new ORDER BY pid;
UPDATE people p
    SET name = w.name, org = w.org, title = w.title, email = w.email, priority = w.priority, line_hash = w.line_hash
    FROM work w WHERE NOT w.is_new AND p.pid = w.pid;

INSERT INTO phones AS old SELECT pid, 1, number, kind, note FROM work ORDER BY pid
    ON CONFLICT (pid, position) DO UPDATE SET number = excluded.number, kind = excluded.kind, note = excluded.note
    WHERE (old.number, old.kind, old.note) IS DISTINCT FROM (excluded.number, excluded.kind, excluded.note);

CREATE TEMP TABLE named ON COMMIT DROP AS
    SELECT DISTINCT w.pid, w.is_new, btrim(team) AS name FROM work w, unnest(string_to_array(w.teams, ',')) AS team;
INSERT INTO teams (name) SELECT DISTINCT name FROM named ON CONFLICT DO NOTHING;
CREATE TEMP TABLE wanted ON COMMIT DROP AS
    SELECT n.pid, t.tid, n.is_new FROM named n JOIN teams t USING (name) ORDER BY 1, 2;
ANALYZE wanted;
DELETE FROM team_members m USING work w
    WHERE NOT w.is_new AND m.pid = w.pid
      AND NOT EXISTS (SELECT FROM wanted x WHERE x.pid = m.pid AND x.tid = m.tid);
INSERT INTO team_members SELECT pid, tid FROM wanted WHERE is_new ORDER BY 1, 2;
INSERT INTO team_members SELECT pid, tid FROM wanted WHERE NOT is_new ON CONFLICT DO NOTHING;
DELETE FROM teams t WHERE NOT EXISTS (SELECT FROM team_members m WHERE m.tid = t.tid);
COMMIT;
