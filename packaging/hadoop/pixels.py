"""Sewer's files as a table of Spark SQL, called pixels, and queries over it.

    spark-submit [--jars sewer-hadoop-0.1.0.jar] pixels.py FORMAT PATH [QUERY ...]

FORMAT is json, tsv, bytes or access-log (which needs the jar that is built here), PATH what Spark
takes for input: a file, a directory, or a pattern such as hdfs:///sewer/2026-11-21/*. The rows of
each query, by default that of pixels by host, are printed as JSON lines.
"""

import json
import re
import sys

from pyspark.sql import SparkSession

HADOOP = "org.apache.hadoop.io."
EVENT = "net.pixelcop.sewer.source.http.AccessLogEvent"
SCHEMA = """timestamp LONG, ip STRING, host STRING, request_path STRING,
    query_string STRING, referer STRING, user_agent STRING, cookies STRING"""

PIXELS_BY_HOST = """
    SELECT host, count(*) AS pixels, count(DISTINCT ip) AS clients
    FROM pixels
    GROUP BY host
    ORDER BY pixels DESC, host
"""


def json_table(spark, path):
    """The value is a JSON object."""
    files = spark.sparkContext.sequenceFile(path, HADOOP + "LongWritable", HADOOP + "Text")
    return spark.read.schema(SCHEMA).json(files.values())


def bytes_table(spark, path):
    """The value is a JSON object, in bytes."""
    files = spark.sparkContext.sequenceFile(path, HADOOP + "LongWritable", HADOOP + "BytesWritable")
    return spark.read.schema(SCHEMA).json(files.values().map(lambda value: value.decode()))


def unescape(text):
    escapes = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\\": "\\"}
    return re.sub(r"\\.", lambda found: escapes[found[0]], text)


def tsv_table(spark, path):
    """The value is a line of eight columns, in which \\N stands for an absent field."""

    def row(line):
        timestamp, *fields = line.split("\t")
        return (int(timestamp), *(None if text == r"\N" else unescape(text) for text in fields))

    files = spark.sparkContext.sequenceFile(path, HADOOP + "LongWritable", HADOOP + "Text")
    return spark.createDataFrame(files.values().map(row), SCHEMA)


def access_log_table(spark, path):
    """The key is a Java object, of which Python gets what its toString gives: the eight columns, with
    absent fields empty, and the sort hash."""

    def row(line):
        timestamp, *fields, _sort_hash = line.split("\t")
        return (int(timestamp), *map(unescape, fields))

    files = spark.sparkContext.sequenceFile(path, EVENT, HADOOP + "VLongWritable")
    return spark.createDataFrame(files.keys().map(row), SCHEMA)


TABLES = {
    "json": json_table,
    "tsv": tsv_table,
    "bytes": bytes_table,
    "access-log": access_log_table,
}


def main(table, path, *queries):
    # The class of access-log is no java.io.Serializable, and Kryo does not mind.
    kryo = ("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
    spark = SparkSession.builder.appName("pixels").config(*kryo).getOrCreate()
    TABLES[table](spark, path).createOrReplaceTempView("pixels")
    for query in queries or [PIXELS_BY_HOST]:
        for row in spark.sql(query).collect():
            print(json.dumps(row.asDict()))


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in TABLES:
        sys.exit(__doc__)
    main(*sys.argv[1:])
