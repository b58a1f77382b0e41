// Says hello on a port; with --check it says so once and ends.
import polka from 'polka';

const hello = 'Hello from Node\n';

if (process.argv.includes('--check')) {
    process.stdout.write(polka().routes ? hello : 'no polka\n');
} else {
    polka()
        .get('/', (request, response) => response.end(hello))
        .listen(8080);
}
