-- Like state-rosterd.sql, for the tables of expert-schema.sql, which contain the unmodified cells.
SELECT count(*), md5(string_agg(line, E'\n' ORDER BY id COLLATE "C")) FROM (
    SELECT p.id,
           concat_ws('|', p.id, p.name, coalesce(p.org, '-'), coalesce(p.title, '-'), coalesce(p.email, '-'),
                     coalesce(lower(p.priority), 'normal'),
                     (SELECT string_agg(concat_ws('/', right(regexp_replace(n.number, '\D', '', 'g'), 10), lower(n.kind), coalesce(n.note, '-')), ',' ORDER BY n.position)
                      FROM phones n WHERE n.pid = p.pid),
                     (SELECT string_agg(t.name, ',' ORDER BY t.name COLLATE "C")
                      FROM team_members m JOIN teams t ON t.tid = m.tid WHERE m.pid = p.pid)) AS line
    FROM people p) AS lines;
