import json
import sys
from io import StringIO

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from settings import database_at


class Command(BaseCommand):
    help = (
        "Run the commands that stdin lists: a JSON array of a database URL, a command and its arguments in each line."
    )

    def handle(self, **options: object) -> None:
        for line in sys.stdin:
            url, *arguments = json.loads(line)
            connection.settings_dict.update(database_at(url))
            output = StringIO()
            try:
                call_command(*arguments, stdout=output)
            finally:
                connection.close()
            print(json.dumps(output.getvalue()), flush=True)
