"""Runs packaging/hadoop/pixels.py on several tables in one Spark, which takes long to start.

Arguments: a query, and pairs of a format and a path. Before the rows of each pair a line names its
format; those of the program's own query come first.
"""

import json
import sys

import pixels

query = sys.argv[1]
for table, path in zip(sys.argv[2::2], sys.argv[3::2]):
    print(json.dumps({"table": table}))
    pixels.main(table, path)
    pixels.main(table, path, query)
