-- A lower bound: copies the file into a temporary table and does nothing else.
\set ON_ERROR_STOP on
CREATE TEMP TABLE file (
    id text, name text, org text, title text, number text, kind text, note text, email text, priority text, teams text
);
\copy file FROM pstdin WITH (FORMAT csv, HEADER true)
