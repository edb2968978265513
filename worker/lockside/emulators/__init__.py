"""What the demo, the tests and the bench start: two local DynamoDBs, and real clients that write to them."""
