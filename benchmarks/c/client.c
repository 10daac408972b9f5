/* libgearman's client: `client HOST PORT MODE N [M]`.

   latency     the microseconds of N foreground calls of `reverse`, a line each
   background  the submissions per second of N gearman_client_do_background() on `submitted`
   run_tasks   the same of N background tasks in gearman_client_run_tasks(), M at a time */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char task[] = "{\"command\": \"reverse\", \"message\": \"abcdef\"}";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void check(gearman_client_st *client, gearman_return_t status)
{
    if (status != GEARMAN_SUCCESS) {
        fprintf(stderr, "%s\n", gearman_client_error(client));
        exit(1);
    }
}

static void unique_of(char *unique, size_t room, int number)
{
    snprintf(unique, room, "%d-%d", (int)getpid(), number);
}

static void latency(gearman_client_st *client, int count)
{
    for (int i = 0; i < count; i++) {
        char unique[32];
        size_t size;
        gearman_return_t status;
        unique_of(unique, sizeof(unique), i);
        double start = now();
        void *result = gearman_client_do(client, "reverse", unique, task, sizeof(task) - 1, &size, &status);
        check(client, status);
        printf("%.1f\n", now() - start);
        free(result);
    }
}

static void background(gearman_client_st *client, int count)
{
    double start = now();
    for (int i = 0; i < count; i++) {
        char unique[32], handle[GEARMAN_JOB_HANDLE_SIZE];
        unique_of(unique, sizeof(unique), i);
        check(client, gearman_client_do_background(client, "submitted", unique, task, sizeof(task) - 1, handle));
    }
    printf("%.1f\n", count / (now() - start) * 1e6);
}

static void run_tasks(gearman_client_st *client, int count, int at_a_time)
{
    double start = now();
    for (int i = 0; i < count;) {
        for (int end = i + at_a_time; i < end && i < count; i++) {
            char unique[32];
            gearman_return_t status;
            unique_of(unique, sizeof(unique), i);
            gearman_client_add_task_background(client, NULL, NULL, "submitted", unique, task, sizeof(task) - 1, &status);
            check(client, status);
        }
        check(client, gearman_client_run_tasks(client));
        gearman_client_task_free_all(client);
    }
    printf("%.1f\n", count / (now() - start) * 1e6);
}

int main(int argc, char **argv)
{
    if (argc < 5 || (strcmp(argv[3], "run_tasks") == 0 && argc < 6)) {
        fprintf(stderr, "usage: client HOST PORT latency|background|run_tasks N [M]\n");
        return 2;
    }
    gearman_client_st *client = gearman_client_create(NULL);
    gearman_client_add_server(client, argv[1], atoi(argv[2]));
    if (strcmp(argv[3], "latency") == 0)
        latency(client, atoi(argv[4]));
    else if (strcmp(argv[3], "background") == 0)
        background(client, atoi(argv[4]));
    else
        run_tasks(client, atoi(argv[4]), atoi(argv[5]));
    gearman_client_free(client);
    return 0;
}
