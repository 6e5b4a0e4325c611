-- The number of contacts and a digest of all their data, in the same form as state-expert.sql.
SELECT count(*), md5(string_agg(line, E'\n' ORDER BY id COLLATE "C")) FROM (
    SELECT c.external_id AS id,
           concat_ws('|', c.external_id, c.name, coalesce(c.organization_name, '-'), coalesce(c.title, '-'), coalesce(c.email, '-'),
                     c.notification_priority,
                     (SELECT string_agg(concat_ws('/', n.number, n.number_type, coalesce(n.description, '-')), ',' ORDER BY n.position)
                      FROM contact_numbers n WHERE n.contact_id = c.id),
                     (SELECT string_agg(g.name, ',' ORDER BY g.name COLLATE "C")
                      FROM active_group_members m JOIN groups g ON g.id = m.group_id WHERE m.contact_id = c.id)) AS line
    FROM active_contacts c) AS lines;
