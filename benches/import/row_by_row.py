"""A simple import script for comparison: several statements for each row. Arguments: database URL, CSV file."""
import csv
import sys

import psycopg

url, path = sys.argv[1:]
with psycopg.connect(url) as db, open(path, encoding="utf-8", newline="") as file:
    seen = []
    for row in csv.DictReader(file):
        cell = {title: text or None for title, text in row.items()}
        pid = db.execute(
            "INSERT INTO people (id, name, org, title, email, priority) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, org = excluded.org, title = excluded.title,"
            " email = excluded.email, priority = excluded.priority RETURNING pid",
            [cell["ID"], cell["Name"], cell["Organization Name"], cell["Title"], cell["Email Address"],
             cell["Notification Priority"]]).fetchone()[0]
        seen.append(pid)
        db.execute(
            "INSERT INTO phones (pid, position, number, kind, note) VALUES (%s, 1, %s, %s, %s)"
            " ON CONFLICT (pid, position) DO UPDATE SET number = excluded.number, kind = excluded.kind, note = excluded.note",
            [pid, cell["Number"], cell["Number Type"], cell["Number Description"]])
        tids = []
        for name in row["Groups"].split(","):
            tids.append(db.execute(
                "INSERT INTO teams (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING tid",
                [name.strip()]).fetchone()[0])
        for tid in tids:
            db.execute("INSERT INTO team_members (pid, tid) VALUES (%s, %s) ON CONFLICT DO NOTHING", [pid, tid])
        db.execute("DELETE FROM team_members WHERE pid = %s AND tid <> ALL (%s)", [pid, tids])
    db.execute("DELETE FROM people WHERE pid <> ALL (%s)", [seen])
    db.execute("DELETE FROM teams t WHERE NOT EXISTS (SELECT FROM team_members m WHERE m.tid = t.tid)")
