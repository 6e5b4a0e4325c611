"""Writes the workbooks for compare_workbooks.py: one list of contacts with all types of cells, written by several programs."""

import csv
import datetime as dt
import subprocess

import openpyxl
import xlsxwriter

HEADER = ["ID", "Name", "Organization Name", "Title", "Number", "Number Type", "Number Description", "Email Address",
          "Notification Priority", "Groups"]
FREE_TEXT = [0, 1, 2, 3, 6]
ROUNDS = 8  # rows per variant
DAY = dt.datetime(2024, 5, 6)

# Columns in which a variant may be used. IDs are unique and, as numbers, have at most 15 digits; ID and Name must not be blank.
ANYWHERE, NO_ID, OPTIONAL = range(3)


class Formula:
    def __init__(self, text, cached):
        self.text, self.cached = text, cached


class Rich(str):
    """A string written as rich text with two fonts."""


def moment(i):
    return DAY + dt.timedelta(days=i, seconds=7919 * i)


TOO_BIG = 33000000  # beyond the last possible date: Excel displays ####, openpyxl reads an error

# Variants of free-text cells: a function from row number to value, the display format (None is General), and the columns.
# Strings like _x0041_ are missing because openpyxl does not decode these escapes.
NUMBERS = [(lambda i, start=start: start + i, None, ANYWHERE) for start in (1000, 6045550000, 1234567890000, 123456789012000)] + [
    (lambda i: i + 0.5, None, ANYWHERE), (lambda i: -i - 0.25, None, ANYWHERE), (lambda i: i % 2, None, NO_ID), (lambda i: 0.1 * i, None, NO_ID),
    (lambda i: (i + 1) / 3, None, NO_ID), (lambda i: (i + 1) * 1e-7, None, NO_ID), (lambda i: float(f"{i + 1}e20"), None, NO_ID),
    (lambda i: 1234567890123456 + i, None, NO_ID), (lambda i: i % 2 == 0, None, NO_ID),
    (lambda i: TOO_BIG + i, "yyyy-mm-dd", ANYWHERE)]
# Formats that contain letters of date formats but do not make the number a date.
FORMATS = [(lambda i, n=n: n * 1000000 + i, form, ANYWHERE) for n, form in enumerate((
    "000-000-0000", "(000) 000-0000", "@", "00000", "#,##0_);[Red](#,##0)", '0" days"', '"Month "0', "[Yellow]0", r"0\d", "[$SEK] 0",
    "_-* #,##0_-", "[$-1009]0", "[Blue]General", '0;"minus "0;"midday"'), 1)] + [
    (lambda i, n=n: n + i / 100, form, ANYWHERE) for n, form in enumerate((
        "0.00%", "$#,##0.00", "[$€-407] #,##0.00", "0.00E+00", "# ?/?", "[>=5]0;[<5]0.0", '0.0,,"M"'), 20000)]
# No date before 1904: workbooks with the 1904 date system cannot store one.
DATES = [(lambda i, first=first: DAY + dt.timedelta(days=first + i), form, ANYWHERE) for first, form in zip(range(-43900, 44100, 8000), (
    "yyyy-mm-dd", "d/m/yyyy", "[$-409]d-mmm-yy;@", "mmmm yyyy", "dddd, mmmm dd, yyyy", 14, 15, r"[$-F800]dddd\,\ mmmm\ dd\,\ yyyy",
    "[Red]yyyy-mm-dd", 'yyyy"年"m"月"d"日"', 22))] + [
    (moment, "m/d/yy h:mm", ANYWHERE), (lambda i: moment(i) + dt.timedelta(hours=5), "yyyy-mm-dd hh:mm:ss", ANYWHERE),
    (lambda i: moment(i) + dt.timedelta(milliseconds=(i * 37) % 1000), "yyyy-mm-dd hh:mm:ss.000", NO_ID),
    (lambda i: moment(i * 60 + 1).time(), "hh:mm AM/PM", NO_ID), (lambda i: dt.timedelta(minutes=90 * i + 90), "[h]:mm", NO_ID)]
STRINGS = [(make, "@", ANYWHERE) for make in (
    lambda i: f"{i:07d}", lambda i: f"{i}e9", lambda i: f"=400000+{i}", lambda i: f"+{500000 + i}", lambda i: f"-{i + 1}")] + [
    (make, None, ANYWHERE) for make in (
        lambda i: f"000{600000 + i}", lambda i: f" \t\u00a0{i} Zoë Ångström\u3000 \u200b", lambda i: f"{i} Zoe\u0308 e\u0301",
        lambda i: f"\u65e5\u672c {i} \U0001f692 \U0001f468\u200d\U0001f692", lambda i: f"{i} <a href='x'>&amp; \"b\"</a> ]]> &#65;",
        lambda i: f"line {i}\nnext\tcell \n\n end", lambda i: f"TRUE {i}", lambda i: f"{i}" + "x" * 5000, lambda i: Rich(f"bold {i} & more "),
        lambda i: f"{i} inner  double   spaces")] + [
    (lambda i: f"{i % 28 + 1}/5/2024", "@", NO_ID), (lambda i: "\u00a0 \u200b", None, OPTIONAL), (lambda i: None, None, OPTIONAL),
    (lambda i: None, "yyyy-mm-dd", OPTIONAL)]
FORMULAS = [(lambda i: Formula(f'="<f>"&{i}&" "', f"<f>{i} "), None, ANYWHERE), (lambda i: Formula(f"=70000+{i}", 70000 + i), None, ANYWHERE),
            (lambda i: Formula(f"={i}+0.125", i + 0.125), None, ANYWHERE), (lambda i: Formula(f"={i}>3", i > 3), None, NO_ID),
            (lambda i: Formula(f"=DATE(2030,1,1+{i})", 47484 + i), "yyyy-mm-dd", ANYWHERE), (lambda i: Formula('=""', ""), None, OPTIONAL)]
VARIANTS = NUMBERS + FORMATS + DATES + STRINGS + FORMULAS


def contacts():
    """Yields the rows; each is a list of cells as (value, display format)."""
    for i in range(len(VARIANTS) * ROUNDS):
        row = [(None, None)] * len(HEADER)
        for nth, column in enumerate(FREE_TEXT):
            make, form, where = VARIANTS[(i + nth * 13) % len(VARIANTS)]
            fits = where == ANYWHERE or column > 1 or (where == NO_ID and column == 1)
            row[column] = (make(i), form) if fits else (f"{HEADER[column]} {i}", None)
        line = 5551000 + i
        row[4] = ((int(f"604{line}"), None), (f"604{line}", "@"), (int(f"604{line}"), "000-000-0000"), (f"+1 (604) 555-{line % 10000}", None),
                  (Formula(f'="1604"&{line}', f"1604{line}"), None), (Formula(f"=6040000000+{line}", 6040000000 + line), None))[i % 6]
        row[5] = (("mobile", "Landline", " PAGER ")[i % 3], None)
        row[7] = (f"person{i}@example.org", None)
        row[8] = (("High", "normal", "LOW")[i % 3], None)
        row[9] = (f"Team {i % 7}, Everyone", None)
        yield row


def by_xlsxwriter(path, **options):
    book = xlsxwriter.Workbook(path, options)
    formats, bold, italic = {None: None}, book.add_format({"bold": True}), book.add_format({"italic": True})
    book.add_worksheet("About").write_string(0, 0, "Not the sheet that has the header")
    sheet = book.add_worksheet("Contacts")
    sheet.write_row(0, 0, HEADER)
    # The 1904 date system starts 1462 days later.
    shift = 1462 if options.get("date_1904") else 0
    for number, row in enumerate(contacts(), 1):
        for column, (value, form) in enumerate(row):
            if form not in formats:
                formats[form] = book.add_format({"num_format": form})
            style = formats[form]
            if isinstance(value, Formula):
                sheet.write_formula(number, column, value.text, style, value.cached - shift if "DATE" in value.text else value.cached)
            elif isinstance(value, Rich):
                sheet.write_rich_string(number, column, bold, value[:4], italic, value[4:])
            elif isinstance(value, str):
                sheet.write_string(number, column, value, style)
            elif value is None:
                sheet.write_blank(number, column, None, style)
            else:
                sheet.write(number, column, value, style)
    book.close()


def by_openpyxl(source, path, iso_dates):
    """Reads `source` with openpyxl and writes it with dates as numbers, or as ISO texts in cells of type d."""
    book = openpyxl.load_workbook(source, data_only=True)
    book.iso_dates = iso_dates
    for row in book["Contacts"].iter_rows():
        for cell in row:
            if cell.data_type == "e":
                cell.value = TOO_BIG + cell.row - 2
    book.save(path)


def as_csv(path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([[getattr(value, "cached", value) for value, _ in row] for row in contacts()])


def by_libreoffice(directory, kind, folder, *sources, options=()):
    """Converts each source with LibreOffice, using a new profile to ignore the settings of the user."""
    command = ["soffice", f"-env:UserInstallation={(directory / 'profile').as_uri()}", "--headless", *options, "--convert-to", kind,
               "--outdir", directory / folder, *sources]
    run = subprocess.run(command, timeout=300, capture_output=True, text=True)
    for source in sources:  # the exit code of soffice is always 0
        if not (directory / folder / f"{source.stem}.{kind}").exists():
            raise SystemExit(f"LibreOffice did not convert {source} to {kind}: {run.stdout}{run.stderr}")


def make_all(directory):
    """Writes all workbooks and returns the paths that rosterd must read."""
    made = directory / "made"
    made.mkdir()
    by_xlsxwriter(made / "shared-strings.xlsx")
    by_xlsxwriter(made / "inline-strings.xlsx", constant_memory=True)
    by_xlsxwriter(made / "dates-1904.xlsx", date_1904=True)
    by_openpyxl(made / "shared-strings.xlsx", made / "openpyxl.xlsx", False)
    by_openpyxl(made / "shared-strings.xlsx", made / "openpyxl-iso-dates.xlsx", True)
    as_csv(made / "from-csv.csv")
    books = sorted(made.glob("*.xlsx"))
    by_libreoffice(directory, "xlsx", "libreoffice", *books)
    by_libreoffice(directory, "xlsx", "libreoffice", made / "from-csv.csv", options=["--infilter=CSV:44,34,76,1"])  # comma, quote, UTF-8
    by_libreoffice(directory, "ods", "made", made / "shared-strings.xlsx")
    by_libreoffice(directory, "xlsx", "libreoffice/from-ods", made / "shared-strings.ods")
    return books + sorted((directory / "libreoffice").rglob("*.xlsx"))
