-- Like state-expert.sql, for the schema used with EXPERT=DIRECTORY.
SET search_path = b;
SELECT count(*), md5(string_agg(line, E'\n' ORDER BY id COLLATE "C")) FROM (
    SELECT c.id,
           concat_ws('|', c.id, c.name, coalesce(c.org, '-'), coalesce(c.title, '-'), coalesce(c.email, '-'),
                     coalesce(lower(c.priority), 'normal'),
                     (SELECT string_agg(concat_ws('/', right(regexp_replace(n.number, '\D', '', 'g'), 10), lower(n.type), coalesce(n.description, '-')), ',' ORDER BY n.seq)
                      FROM contact_numbers n WHERE n.cid = c.cid),
                     (SELECT string_agg(g.name, ',' ORDER BY g.name COLLATE "C")
                      FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.cid = c.cid)) AS line
    FROM contacts c) AS lines;
