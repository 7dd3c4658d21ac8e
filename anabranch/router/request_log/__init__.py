"""The request log: requests with their replies, as CloudEvents, to files, over HTTP or to Kafka.

| module | does |
|---|---|
| ``entries`` | keeps of a request and its reply what may be logged, on the request path |
| ``tensors`` | tensors as JSON that says every bit of them, and back |
| ``events`` | an entry as a CloudEvent |
| ``recording`` | the logs of a router's arms, and the outlet that they share |
| ``sinks`` | opens what an arm's log goes to: ``files``, ``http``, ``kafka`` |
| ``parquet`` | turns complete files of JSON lines into Parquet |
| ``reading`` | reads logs again |
"""
