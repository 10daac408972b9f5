/* libgearman's worker, the yardstick: `worker HOST PORT` serves `reverse` (the message of a JSON task, reversed, as JSON)
 * and `echo` (the payload as it came). */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gearman_return_t reverse(gearman_job_st *job, void *context)
{
    static const char key[] = "\"message\": \"";
    const char *payload = gearman_job_workload(job);
    size_t size = gearman_job_workload_size(job);
    char result[256];
    const char *message = memmem(payload, size, key, sizeof(key) - 1);
    (void)context;
    if (message == NULL)
        return GEARMAN_ERROR;
    message += sizeof(key) - 1;
    const char *end = memchr(message, '"', payload + size - message);
    if (end == NULL || end - message > 200)
        return GEARMAN_ERROR;
    size_t length = end - message;
    result[0] = '"';
    for (size_t i = 0; i < length; i++)
        result[1 + i] = message[length - 1 - i];
    result[length + 1] = '"';
    return gearman_job_send_complete(job, result, length + 2) == GEARMAN_SUCCESS ? GEARMAN_SUCCESS : GEARMAN_ERROR;
}

static gearman_return_t echo(gearman_job_st *job, void *context)
{
    (void)context;
    return gearman_job_send_complete(job, gearman_job_workload(job), gearman_job_workload_size(job)) == GEARMAN_SUCCESS
               ? GEARMAN_SUCCESS
               : GEARMAN_ERROR;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: worker HOST PORT\n");
        return 2;
    }
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_worker_add_server(worker, argv[1], atoi(argv[2]));
    gearman_worker_define_function(worker, "reverse", 7, gearman_function_create(reverse), 0, NULL);
    gearman_worker_define_function(worker, "echo", 4, gearman_function_create(echo), 0, NULL);
    while (gearman_worker_work(worker) == GEARMAN_SUCCESS)
        ;
    fprintf(stderr, "%s\n", gearman_worker_error(worker));
    return 1;
}
