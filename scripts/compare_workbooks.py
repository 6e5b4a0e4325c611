"""Compares, cell by cell, what rosterd and openpyxl read in workbooks of contacts. Run by scripts/compare-workbooks.

The text that rosterd must read for each type of value that openpyxl reads:
- string: trimmed, tabs and line breaks replaced by one space, Unicode NFC
- number: all digits, without `.0` or exponent
- boolean: TRUE or FALSE
- date, date with time, time: 2024-05-06, 2024-05-06T07:08:09, 07:08:09, without fractions of a second
- duration, and number with a date format that is too large for a date: the stored number of days
"""

import datetime as dt
import decimal
import json
import pathlib
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings

import openpyxl

import make_workbooks

# Unicode white space, and the zero-width characters that are trimmed as well.
SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
ENDS = SPACE + "\u200b\u200c\u200d\u2060\ufeff\u180e\u00ad"


def expected_text(value):
    if value is None:
        return None
    if isinstance(value, str):
        parts = [part.strip(ENDS) for part in re.split("[\t\n\r\x0b\x0c\x85\u2028\u2029]", value)]
        return unicodedata.normalize("NFC", " ".join(part for part in parts if part)) or None
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, dt.timedelta):
        return expected_text(value / dt.timedelta(days=1))
    if isinstance(value, (int, float)):
        return format(decimal.Decimal(int(value) if value == int(value) else repr(value)), "f")
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(timespec="seconds")
    return value.isoformat(timespec="seconds") if isinstance(value, dt.time) else value.isoformat()


def expected_contact(values):
    text = [expected_text(value) for value in values]
    text[4] = re.sub(r"\D", "", text[4])[-10:]
    text[5], text[8] = text[5].lower(), text[8].lower()
    text[9] = [group.strip() for group in text[9].split(",")]
    return text


def found_contact(contact):
    number = contact["numbers"][0]
    return [contact["external_id"], contact["name"], contact["organization_name"], contact["title"], number["number"],
            number["number_type"], number["description"], contact["email"], contact["notification_priority"], contact["groups"]]


def compare(rosterd, path, made):
    """Returns (number of compared cells, differences)."""
    run = subprocess.run([rosterd, "check", path, "--format", "json"], cwd=path.parent, capture_output=True, timeout=60)
    if run.returncode not in (0, 3):
        return 0, [f"exit code {run.returncode}: {run.stdout[:300]} {run.stderr[:300]}"]
    document = json.loads(run.stdout)
    contacts = {row: contact for contact in document["contacts"] for row in contact["rows"]}
    book = openpyxl.load_workbook(path, data_only=True)
    sheet = book["Contacts"] if "Contacts" in book.sheetnames else book.worksheets[0]
    rows = list(sheet.iter_rows(min_row=2, max_col=len(make_workbooks.HEADER), values_only=True))
    cells, differences = 0, []
    if len(rows) != len(made):
        differences.append(f"{len(rows)} rows, expected {len(made)}")
    for number, (values, stored) in enumerate(zip(rows, made), 2):
        # openpyxl reads an error for numbers that are too large for their date format: expect the number that was written.
        # OpenDocument cannot store these numbers: do not compare those cells.
        lost = [value == "#VALUE!" and "from-ods" in path.parts for value in values]
        values = [number_of[0] if value == "#VALUE!" else value for value, number_of in zip(values, stored)]
        if lost[0]:
            continue
        contact = contacts.get(number)
        if contact is None or contact["rows"] != [number]:
            issues = [f"{issue['code']} ({issue['column']}, {issue['value']!r:.40})" for issue in document["issues"] if issue["row"] == number]
            differences.append(f"row {number}: expected a contact from this row only, with ID {expected_text(values[0])!r}, found "
                               + (f"a contact from rows {contact['rows']} with ID {contact['external_id']!r}" if contact else f"none: {', '.join(issues)}"))
            continue
        for column, (expected, found) in enumerate(zip(expected_contact(values), found_contact(contact))):
            if lost[column]:
                continue
            cells += 1
            if expected != found:
                differences.append(f"{chr(65 + column)}{number}: expected {expected!r}, found {found!r}")
    return cells, differences


def main():
    rosterd, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    warnings.simplefilter("ignore")  # openpyxl warns about cells without a value
    for folder in ("made", "libreoffice", "profile"):
        shutil.rmtree(directory / folder, ignore_errors=True)
    made = list(make_workbooks.contacts())
    all_cells = all_differences = 0
    for path in make_workbooks.make_all(directory):
        cells, differences = compare(rosterd, path, made)
        all_cells += cells
        all_differences += len(differences)
        print(f"{str(path.relative_to(directory)):42} {cells:5} cells compared, {len(differences)} differences")
        for difference in differences:
            print(f"  {difference}")
    print(f"\n{all_cells} cells compared, {all_differences} differences")
    sys.exit(1 if all_differences or not all_cells else 0)


if __name__ == "__main__":
    main()
